// Spiking neurons against a loop in double precision, and the same bytes, gradients included, at every level and for every number of
// threads.
#include <algorithm>
#include <cstdio>
#include <vector>

#include "quintet/cpu.hpp"
#include "quintet/spiking.hpp"

namespace {

using quintet::SpikingRun;
using Floats = std::vector<float>;

int failures = 0;

void expect(bool fine, const char* what, const SpikingRun& run) {
  if (fine) return;
  std::fprintf(stderr, "FAILED: %s (%lld streams, %lld neurons)\n", what, static_cast<long long>(run.batch),
               static_cast<long long>(run.neurons));
  ++failures;
}

std::uint64_t random_number() {
  static std::uint64_t state = 1;
  state = state * 6364136223846793005u + 1442695040888963407u;
  return state >> 40;
}

Floats random_floats(std::int64_t count, float low, float high) {
  Floats x(static_cast<std::size_t>(count));
  for (float& each : x) each = low + static_cast<float>(random_number()) / 16777216.0f * (high - low);
  return x;
}

struct Case {
  SpikingRun run{};
  Floats weight, alpha, theta, beta, state, drive;
  std::vector<std::int64_t> places;

  Case(std::int64_t batch, std::int64_t neurons, std::int64_t steps, std::int64_t block, std::int64_t blocks) {
    run.batch = batch;
    run.neurons = neurons;
    run.steps = steps;
    run.block = block;
    run.blocks = blocks;
    run.refractory = 1;
    run.rho = 0.9f;
    run.kappa = 0.8f;
    run.height = 0.4f;
    run.threads = 1;
    weight = random_floats(blocks * block * block, -0.5f, 0.6f);
    for (std::int64_t i = 0; i < 2 * blocks; ++i) places.push_back(static_cast<std::int64_t>(random_number()) % (neurons / block));
    alpha = random_floats(neurons, 0.3f, 0.9f);
    theta = random_floats(neurons, 1.0f, 1.2f);
    beta = random_floats(neurons, 0.0f, 0.5f);
    state = random_floats(5 * batch * neurons, 0.0f, 0.5f);
    for (std::size_t i = static_cast<std::size_t>(2 * batch * neurons); i < static_cast<std::size_t>(3 * batch * neurons); ++i) {
      state[i] = state[i] > 0.45f ? 1.0f : 0.0f;
    }
    drive = random_floats(batch * steps * neurons, -1.0f, 1.4f);
    run.weight = weight.data();
    run.places = places.data();
    run.alpha = alpha.data();
    run.theta = theta.data();
    run.beta = beta.data();
    run.state = state.data();
    run.drive = drive.data();
  }
  Case(const Case&) = delete;
  Case& operator=(const Case&) = delete;
};

struct Result {
  Floats spikes, last, weight, alpha, theta, beta, state, drive;

  std::vector<const Floats*> parts() const { return {&spikes, &last, &weight, &alpha, &theta, &beta, &state, &drive}; }
  bool operator==(const Result& other) const {
    const auto mine = parts(), theirs = other.parts();
    return std::equal(mine.begin(), mine.end(), theirs.begin(), [](const Floats* a, const Floats* b) { return *a == *b; });
  }
};

Result compute(const Case& c, const Floats& direction) {
  Result out{c.drive, c.state, c.weight, c.alpha, c.theta, c.beta, c.state, c.drive};
  Floats distances(c.drive.size()), adaptations(c.drive.size());
  std::vector<std::uint64_t> spikes(c.drive.size() / static_cast<std::size_t>(c.run.block)), ready(spikes.size());
  const quintet::SpikingKept kept{distances.data(), adaptations.data(), spikes.data(), ready.data()};
  quintet::spiking_forward(c.run, out.spikes.data(), out.last.data(), &kept);
  quintet::spiking_backward(c.run, kept,
                            {direction.data(), nullptr, out.weight.data(), out.alpha.data(), out.theta.data(), out.beta.data(),
                             out.state.data(), out.drive.data()});
  return out;
}

// The spikes by the definition, one stream after the other.
Floats reference(const Case& c) {
  const auto n = static_cast<std::size_t>(c.run.neurons), streams = static_cast<std::size_t>(c.run.batch),
             size = static_cast<std::size_t>(c.run.block);
  Floats spikes;
  for (std::size_t b = 0; b < streams; ++b) {
    std::vector<double> v(n), a(n), z(n), since(n);
    const auto part = [&](std::size_t which, std::size_t i) { return static_cast<double>(c.state[(which * streams + b) * n + i]); };
    for (std::size_t i = 0; i < n; ++i) v[i] = part(0, i), a[i] = part(1, i), z[i] = part(2, i), since[i] = part(4, i);
    for (std::size_t t = 0; t < static_cast<std::size_t>(c.run.steps); ++t) {
      std::vector<double> current(n);
      for (std::size_t k = 0; k < static_cast<std::size_t>(c.run.blocks); ++k) {
        const auto from = static_cast<std::size_t>(c.places[2 * k]) * size, to = static_cast<std::size_t>(c.places[2 * k + 1]) * size;
        for (std::size_t i = 0; i < size * size; ++i)
          current[to + i % size] += z[from + i / size] * static_cast<double>(c.weight[k * size * size + i]);
      }
      for (std::size_t i = 0; i < n; ++i) {
        const double theta = static_cast<double>(c.theta[i]), beta = static_cast<double>(c.beta[i]);
        const double rest = c.run.to_zero ? v[i] * (1 - z[i]) : v[i] - z[i] * (theta + beta * a[i]);
        const double drive = static_cast<double>(c.drive[(b * static_cast<std::size_t>(c.run.steps) + t) * n + i]);
        v[i] = static_cast<double>(c.alpha[i]) * rest + drive + current[i];
        a[i] = static_cast<double>(c.run.rho) * a[i] + (1 - static_cast<double>(c.run.rho)) * z[i];
        since[i] += 1;
        z[i] = v[i] > theta + beta * a[i] && since[i] > static_cast<double>(c.run.refractory) ? 1 : 0;
        since[i] = z[i] > 0 ? 0 : since[i];
        spikes.push_back(static_cast<float>(z[i]));
      }
    }
  }
  return spikes;
}

void check(std::int64_t batch, std::int64_t neurons, std::int64_t block, std::int64_t blocks, bool to_zero) {
  Case c(batch, neurons, 7, block, blocks);
  c.run.to_zero = to_zero;
  const Floats direction = random_floats(batch * 7 * neurons, -1.0f, 1.0f);
  quintet::use(quintet::Level::kScalar);
  const Result expected = compute(c, direction);
  expect(expected.spikes == reference(c), "spikes equal the definition's", c.run);
  for (const quintet::Level level : quintet::levels()) {
    quintet::use(level);
    for (int threads : {1, 2, 5}) {
      c.run.threads = threads;
      expect(compute(c, direction) == expected, "the same bytes", c.run);
    }
  }
}

}  // namespace

int main() {
  for (const bool to_zero : {false, true}) {
    check(1, 16, 16, 1, to_zero);
    check(13, 96, 32, 5, to_zero);
    check(100, 128, 64, 3, to_zero);
    check(7, 64, 16, 0, to_zero);
    check(0, 64, 64, 1, to_zero);
  }
  std::printf("%d failed\n", failures);
  return failures != 0;
}
