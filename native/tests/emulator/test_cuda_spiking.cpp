// Spiking neurons on the emulated GPU against the CPU: the same bits, but for sums that are added up in another order.
#include <algorithm>
#include <cmath>
#include <vector>

#include "../check.hpp"
#include "device.cuh"
#include "quintet/cpu.hpp"
#include "quintet/cuda/spiking.hpp"

namespace {

using Floats = std::vector<float>;
using Words = std::vector<std::uint64_t>;
using Places = std::vector<std::int64_t>;
using quintet::SpikingRun;

Floats random_floats(std::int64_t count, float low, float high) {
  Floats x(static_cast<std::size_t>(count));
  for (float& each : x) each = low + static_cast<float>(check::random(1 << 20)) / (1 << 20) * (high - low);
  return x;
}

struct Case {
  SpikingRun run{};
  Floats weight, alpha, theta, beta, state, drive;
  Places places;

  Case(std::int64_t batch, std::int64_t neurons, std::int64_t steps, std::int64_t block, std::int64_t blocks) {
    run.batch = batch, run.neurons = neurons, run.steps = steps, run.block = block, run.blocks = blocks;
    run.rho = 0.9f, run.kappa = 0.8f, run.height = 0.4f, run.threads = 1;
    weight = random_floats(blocks * block * block, -0.5f, 0.6f);
    for (std::int64_t i = 0; i < 2 * blocks; ++i) places.push_back(check::random(static_cast<int>(neurons / block)));
    alpha = random_floats(neurons, 0.3f, 0.9f);
    theta = random_floats(neurons, 1.0f, 1.2f);
    beta = random_floats(neurons, 0.0f, 0.5f);
    state = random_floats(5 * batch * neurons, 0.0f, 0.5f);
    const auto size = static_cast<std::size_t>(batch * neurons);
    for (std::size_t i = 2 * size; i < 3 * size; ++i) state[i] = state[i] > 0.45f ? 1.0f : 0.0f;
    drive = random_floats(batch * steps * neurons, -1.0f, 1.4f);
    run.weight = weight.data(), run.places = places.data();
    run.alpha = alpha.data(), run.theta = theta.data(), run.beta = beta.data(), run.state = state.data(), run.drive = drive.data();
  }
  Case(const Case&) = delete;
  Case& operator=(const Case&) = delete;

  // The lists of blocks by one of their ends.
  struct Lists {
    Places starts, blocks, tiles;
    quintet::cuda::Wiring wiring() const { return {starts.data(), blocks.data(), tiles.data()}; }
  };
  Lists lists(int end) const {
    Lists all;
    for (std::int64_t tile = 0; tile <= run.neurons / run.block; ++tile) {
      all.starts.push_back(static_cast<std::int64_t>(all.blocks.size()));
      for (std::int64_t k = 0; k < run.blocks; ++k) {
        const std::int64_t* place = run.places + 2 * k;
        if (place[end] != tile) continue;
        all.blocks.push_back(k);
        all.tiles.push_back(place[1 - end]);
      }
    }
    return all;
  }
  Floats turned() const {
    Floats to(weight.size());
    const auto width = static_cast<std::size_t>(run.block), size = width * width;
    for (std::size_t i = 0; i < weight.size(); ++i) to[i / size * size + i % width * width + i % size / width] = weight[i];
    return to;
  }
};

struct Result {
  Floats spikes, last, weight, alpha, theta, beta, state, drive;

  explicit Result(const Case& c)
      : spikes(c.drive.size()), last(c.state.size()), weight(c.weight.size()), alpha(c.alpha.size()), theta(c.alpha.size()),
        beta(c.alpha.size()), state(c.state.size()), drive(c.drive.size()) {}
  quintet::SpikingGradients to(const Floats& from_spikes, const Floats& from_last) {
    return {from_spikes.data(), from_last.empty() ? nullptr : from_last.data(), weight.data(), alpha.data(), theta.data(),
            beta.data(), state.data(), drive.data()};
  }
};

// Room for what the forward pass keeps.
struct Room {
  Floats distances, adaptations;
  Words spikes, ready, before;

  explicit Room(const Case& c)
      : distances(c.drive.size()), adaptations(c.drive.size()), spikes(c.drive.size() / static_cast<std::size_t>(c.run.block)),
        ready(spikes.size()), before(spikes.size()) {}
  quintet::SpikingKept kept() { return {distances.data(), adaptations.data(), spikes.data(), ready.data()}; }
};

bool near(const Floats& a, const Floats& b) {
  float most = 1.0f;
  for (const float x : b) most = std::max(most, std::abs(x));
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [&](float x, float y) { return std::abs(x - y) <= 1e-5f * most; });
}

void check_case(const Case& c, bool with_last) {
  const Floats from_spikes = random_floats(static_cast<std::int64_t>(c.drive.size()), -1.0f, 1.0f);
  const Floats from_last = with_last ? random_floats(static_cast<std::int64_t>(c.state.size()), -1.0f, 1.0f) : Floats();
  const auto expect = [&](bool fine, const char* what) { check::expect(fine, what, c.run.batch, c.run.neurons); };
  Result expected(c), found(c);
  Room room(c), other(c);
  const quintet::SpikingKept kept = room.kept();
  quintet::spiking_forward(c.run, expected.spikes.data(), expected.last.data(), &kept);
  quintet::spiking_backward(c.run, kept, expected.to(from_spikes, from_last));

  const auto forward = quintet::cuda::spiking_forward;
  const Case::Lists into = c.lists(1), out_of = c.lists(0);
  const quintet::SpikingKept only{nullptr, nullptr, other.spikes.data(), nullptr};
  for (const quintet::SpikingKept& each : {only, other.kept()}) {
    found = Result(c);
    expect(forward(c.run, into.wiring(), found.spikes.data(), found.last.data(), other.before.data(), each, nullptr).ok(), "forward runs");
    expect(found.spikes == expected.spikes && found.last == expected.last, "forward");
  }
  expect(other.spikes == room.spikes && other.ready == room.ready, "bits");
  const Floats turned = c.turned();
  Floats sums(static_cast<std::size_t>(3 * quintet::cuda::spiking_groups(c.run.batch) * c.run.neurons));
  expect(quintet::cuda::spiking_backward(c.run, out_of.wiring(), turned.data(), other.kept(), found.to(from_spikes, from_last), sums.data(),
                                         other.before.data(), nullptr)
             .ok(),
         "backward runs");
  expect(found.drive == expected.drive && found.state == expected.state, "gradients of drive and state");
  expect(near(found.weight, expected.weight), "gradient of weight");
  expect(near(found.alpha, expected.alpha) && near(found.theta, expected.theta) && near(found.beta, expected.beta), "gradients of neurons");
}

void check_sizes(std::int64_t batch, std::int64_t neurons, std::int64_t block, std::int64_t blocks) {
  for (const bool to_zero : {false, true}) {
    Case c(batch, neurons, 5, block, blocks);
    c.run.to_zero = to_zero;
    c.run.refractory = to_zero ? 2 : 0;
    check_case(c, to_zero);
  }
}

}  // namespace

int main() {
  for (const bool backward : {false, true}) {
    quintet::cuda::emulator::backward = backward;
    check_sizes(1, 16, 16, 1);
    check_sizes(3, 80, 16, 9);
    check_sizes(9, 96, 32, 5);
    check_sizes(11, 128, 64, 4);
    check_sizes(5, 64, 32, 0);
    check_sizes(0, 64, 64, 1);
  }
  return check::report();
}
