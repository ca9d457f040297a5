// The CUDA recurrent run, emulated, against the CPU's; and the same bytes however the device deals out the work.
#include <algorithm>
#include <cmath>
#include <vector>

#include "../check.hpp"
#include "device.cuh"
#include "quintet/cuda/recurrent.hpp"
#include "quintet/recurrent.hpp"

namespace {

namespace cuda = quintet::cuda;
using quintet::Activation;
using quintet::RecurrentRun;
using Floats = std::vector<float>;

std::size_t size(std::int64_t count) { return static_cast<std::size_t>(count); }

Floats random_floats(std::int64_t count, float scale, float mean = 0.0F) {
  Floats x(size(count));
  for (float& each : x) each = mean + (static_cast<float>(check::random(1 << 20)) / 1048576.0F - 0.5F) * scale;
  return x;
}

struct Kind {
  std::int64_t batch, neurons, steps;
  Activation activation = Activation::kTanh;
  double dropout = 0.0;
  std::int64_t inputs = 0;  // 0: all neurons
  std::int64_t frames = 1, every = 1;
  bool hold = false;
  std::int64_t collect = 0, segment = 0;
  bool state = false;
};

// A run's tensors and the gradients that come in.
struct Case {
  explicit Case(const Kind& kind) {
    const std::int64_t n = kind.neurons;
    run.batch = kind.batch;
    run.neurons = n;
    run.steps = kind.steps;
    run.frames = kind.frames;
    run.inputs = kind.inputs > 0 ? kind.inputs : n;
    run.every = kind.every;
    run.hold = kind.hold;
    run.collect = kind.collect;
    run.segment = kind.segment;
    run.activation = kind.activation;
    run.dropout = kind.dropout;
    run.seed = 0x123456789ABCDEF0;
    run.epsilon = 1e-6F;
    run.threads = 1;
    collected = run.collect > 0 ? run.steps / run.collect : 0;
    weight = random_floats(n * n, 3.0F / std::sqrt(static_cast<float>(n)));
    bias = random_floats(n, 0.5F);
    gain = random_floats(n, 0.5F, 1.0F);
    state = random_floats(run.batch * n, 2.0F);
    drive = random_floats(run.batch * run.frames * run.inputs, 2.0F);
    final = random_floats(run.batch * n, 2.0F);
    states = random_floats(run.batch * collected * n, 2.0F);
    for (std::int64_t i = 0; i < kind.inputs; ++i) places.push_back(check::random(static_cast<int>(n)));
    run.weight = weight.data();
    run.bias = bias.data();
    run.gain = gain.data();
    run.state = kind.state ? state.data() : nullptr;
    run.drive = drive.data();
    run.places = kind.inputs > 0 ? places.data() : nullptr;
    sort_inputs();
  }
  Case(const Case&) = delete;
  Case& operator=(const Case&) = delete;

  void sort_inputs() {
    for (std::int64_t n = 0; n <= run.neurons; ++n) {
      first.push_back(static_cast<std::int64_t>(order.size()));
      for (std::size_t i = 0; i < places.size(); ++i) {
        if (places[i] == n) order.push_back(static_cast<std::int64_t>(i));
      }
    }
  }

  RecurrentRun run{};
  std::int64_t collected = 0;
  Floats weight, bias, gain, state, drive, final, states;
  std::vector<std::int64_t> places, order, first;
};

struct Result {
  explicit Result(const Case& c)
      : final(c.final.size()), states(c.states.size()), weight(c.weight.size()), bias(c.bias.size()), gain(c.gain.size()),
        state(c.run.state != nullptr ? c.state.size() : 0), drive(c.drive.size()) {}

  std::vector<const Floats*> parts() const { return {&final, &states, &weight, &bias, &gain, &state, &drive}; }

  Floats final, states, weight, bias, gain, state, drive;
};

Result on_cpu(const Case& c) {
  Result out(c);
  const auto shape = quintet::shape_of(c.run);
  Floats values(size(shape.slots * shape.slot)), scales(size(c.run.steps * c.run.batch));
  std::vector<std::uint64_t> masks(size(shape.masks));
  const quintet::RecurrentKept kept{values.data(), scales.data(), masks.empty() ? nullptr : masks.data()};
  quintet::recurrent_forward(c.run, out.final.data(), out.states.data(), &kept);
  quintet::recurrent_backward(c.run, kept,
                              {c.final.data(), c.states.data(), out.weight.data(), out.bias.data(), out.gain.data(),
                               c.run.state != nullptr ? out.state.data() : nullptr, out.drive.data()});
  return out;
}

// The spans of a run, as whoever calls the library cuts it.
class Emulated {
 public:
  explicit Emulated(const Case& c)
      : c_(c), n_(c.run.neurons), p_(cuda::padded(n_)), slot_(c.run.batch * p_), length_(c.run.segment > 0 ? c.run.segment : c.run.steps),
        out(c), scales_(size(c.run.steps * c.run.batch)), partials_(size(c.run.batch * cuda::partial_sums(n_))),
        carried_(size(slot_)), gains_(size(slot_)), entered_(size(c.run.frames * slot_)), transposed_(size(n_ * n_)) {
    for (std::int64_t i = 0; i < n_ * n_; ++i) transposed_[size(i % n_ * n_ + i / n_)] = c.weight[size(i)];
    for (std::int64_t from = 0; from < c.run.steps; from += length_) forward(from, true);
    for (std::int64_t from = (c.run.steps - 1) / length_ * length_; from >= 0; from -= length_) backward(from);
    finish();
  }

 private:
  cuda::RecurrentSpan span(std::int64_t from) {
    const std::int64_t to = std::min(from + length_, c_.run.steps);
    const bool routed = c_.run.places != nullptr;
    return {c_.run, from, to, routed ? c_.order.data() : nullptr, routed ? c_.first.data() : nullptr,
            from > 0 ? befores_[size(from / length_ - 1)].data() : nullptr, scales_.data(), partials_.data()};
  }

  // d and s of each step of the span; with `first`, what the next span begins with is kept.
  void forward(std::int64_t from, bool first) {
    const auto part = span(from);
    const std::int64_t count = part.to - from, slots = std::max<std::int64_t>(count, 2);
    values_.assign(size(slots * slot_), -1.0F);
    sums_.assign(size(count * slot_), -1.0F);
    float *final = first ? out.final.data() : nullptr, *states = first ? out.states.data() : nullptr;
    const auto status = cuda::recurrent_forward(part, {values_.data(), slots, sums_.data(), final, states}, nullptr);
    check::expect(status.ok(), "forward's status");
    if (first) befores_.emplace_back(values_.end() - slot_ * (count == 1 ? 2 : 1), values_.end() - (count == 1 ? slot_ : 0));
  }

  void backward(std::int64_t from) {
    forward(from, false);
    const auto part = span(from);
    const std::int64_t count = part.to - from;
    Floats errors(size(count * slot_), -1.0F), entering(size(count * slot_), 0.0F), products(size(4 * slot_), -1.0F);
    const Floats& kept = cuda::needs_sums(c_.run.activation) ? sums_ : values_;
    const auto status = cuda::recurrent_backward(
        part, {transposed_.data(), kept.data(), c_.final.data(), c_.states.data(), carried_.data(), gains_.data(), errors.data(),
               entering.data(), entered_.data(), products.data()}, nullptr);
    check::expect(status.ok(), "backward's status");
    for (std::int64_t b = 0; b < c_.run.batch; ++b) {
      for (std::int64_t i = 0; i < n_; ++i) entering[size(b * p_ + i)] = state_before(from, b, i);
    }
    for (std::int64_t r = 0; r < count * c_.run.batch; ++r) {
      for (std::int64_t i = 0; i < n_; ++i) {
        for (std::int64_t j = 0; j < n_; ++j) out.weight[size(i * n_ + j)] += entering[size(r * p_ + i)] * errors[size(r * p_ + j)];
        out.bias[size(i)] += errors[size(r * p_ + i)];
      }
    }
  }

  float state_before(std::int64_t from, std::int64_t b, std::int64_t i) const {
    if (from == 0) return c_.run.state == nullptr ? 0.0F : c_.state[size(b * n_ + i)];
    return befores_[size(from / length_ - 1)][size(b * p_ + i)] * scales_[size((from - 1) * c_.run.batch + b)] * c_.gain[size(i)];
  }

  void finish() {
    for (std::int64_t b = 0; b < c_.run.batch; ++b) {
      for (std::int64_t i = 0; i < n_; ++i) {
        out.gain[size(i)] += gains_[size(b * p_ + i)];
        if (c_.run.state != nullptr) out.state[size(b * n_ + i)] = carried_[size(b * p_ + i)];
      }
      for (std::int64_t f = 0; f < c_.run.frames; ++f) {
        for (std::int64_t i = 0; i < c_.run.inputs; ++i) {
          const std::int64_t place = c_.run.places == nullptr ? i : c_.places[size(i)];
          out.drive[size((b * c_.run.frames + f) * c_.run.inputs + i)] = entered_[size((f * c_.run.batch + b) * p_ + place)];
        }
      }
    }
  }

  const Case& c_;
  const std::int64_t n_, p_, slot_, length_;

 public:
  Result out;

 private:
  Floats scales_, partials_, carried_, gains_, entered_, transposed_, values_, sums_;
  std::vector<Floats> befores_;
};

void check_near(const Kind& kind) {
  const Case c(kind);
  const Result expected = on_cpu(c), found = Emulated(c).out;
  for (std::size_t part = 0; part < expected.parts().size(); ++part) {
    const Floats &e = *expected.parts()[part], &f = *found.parts()[part];
    float most = 1.0F, worst = 0.0F;
    bool number = true;
    for (std::size_t i = 0; i < e.size(); ++i) {
      most = std::max(most, std::abs(e[i]));
      worst = std::max(worst, std::abs(e[i] - f[i]));
      number = number && std::isfinite(f[i]);
    }
    static const char* const names[] = {"final", "states", "weight", "bias", "gain", "state", "drive"};
    check::expect(number && worst <= (kind.neurons == 1 ? 1e-4F : 3e-5F) * most, names[part], kind.batch, kind.neurons);
  }
}

// Other blocks at once, other turns: tiles of 16 columns on either path, so the sums' order stays.
void check_same_bytes(const Kind& kind) {
  const Case c(kind);
  const Result expected = Emulated(c).out;
  for (const int blocks : {8, 5, 2, 1}) {
    for (const bool backward : {false, true}) {
      cuda::emulator::blocks_at_once = blocks;
      cuda::emulator::backward = backward;
      const Result found = Emulated(c).out;
      for (std::size_t part = 0; part < 7; ++part) {
        check::expect(*found.parts()[part] == *expected.parts()[part], "the same bytes", blocks, kind.neurons);
      }
    }
  }
  cuda::emulator::blocks_at_once = 8;
  cuda::emulator::backward = false;
}

// Where no block fits, the caller hears of it; where the matrix does not, it is read at each step.
void check_limits() {
  const int before = cuda::emulator::shared_limit;
  cuda::emulator::shared_limit = 48 << 10;
  check_near({9, 129, 3, Activation::kTanh, 0.2, 0, 1, 1, false, 1, 0, true});
  cuda::emulator::shared_limit = 1 << 10;
  const Case c({2, 5, 2});
  Floats values(4 * 16), scales(4), partials(size(2 * cuda::partial_sums(5))), final(10);
  const auto status = cuda::recurrent_forward({c.run, 0, 2, nullptr, nullptr, nullptr, scales.data(), partials.data()},
                                              {values.data(), 2, nullptr, final.data(), nullptr}, nullptr);
  check::expect(!status.ok(), "a device without room is refused");
  cuda::emulator::shared_limit = before;
}

}  // namespace

int main() {
  for (const std::int64_t neurons : {1, 7, 33, 64, 100, 129}) check_near({3, neurons, 3, Activation::kTanh, 0.0, 0, 3, 1, false, 1});
  for (const std::int64_t batch : {1, 8, 17}) check_near({batch, 40, 4, Activation::kTanh, 0.1, 0, 1, 1, false, 0, 0, true});
  for (int f = 0; f <= static_cast<int>(Activation::kSilu); ++f) {
    check_near({3, 20, 4, static_cast<Activation>(f), 0.25, 0, 2, 2, true, 2});
    check_near({2, 70, 5, static_cast<Activation>(f), 0.0, 9, 2, 2, false, 1, 2, true});
  }
  check_near({5, 33, 9, Activation::kTanh, 0.1, 50, 2, 3, true, 1});            // several inputs at a neuron
  check_near({4, 50, 7, Activation::kElu, 0.3, 0, 3, 2, false, 3, 1});          // segments of one step
  check_near({4, 50, 7, Activation::kGelu, 0.3, 0, 3, 2, true, 2, 50, true});   // a segment beyond the end
  check_near({2, 1100, 2, Activation::kTanh, 0.0, 0, 1, 1, false, 1});          // two pieces of a row
  check_near({0, 5, 2});
  check_same_bytes({19, 33, 4, Activation::kSilu, 0.2, 0, 2, 2, false, 1, 3, true});
  check_limits();
  return check::report();
}
