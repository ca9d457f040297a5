// The recurrent run against its definition in double precision, and its gradients against differences of that definition; the same bytes at
// every level and for every number of threads.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <vector>

#include "quintet/cpu.hpp"
#include "quintet/recurrent.hpp"

namespace {

using quintet::Activation;
using quintet::RecurrentRun;
using Floats = std::vector<float>;

int failures = 0;

void expect(bool fine, const char* what, const RecurrentRun& run) {
  if (fine) return;
  std::fprintf(stderr, "FAILED: %s (%lld rows, %lld neurons, %lld steps, activation %d)\n", what, static_cast<long long>(run.batch),
               static_cast<long long>(run.neurons), static_cast<long long>(run.steps), static_cast<int>(run.activation));
  ++failures;
}

Floats random_floats(std::int64_t count, float scale) {
  static std::uint64_t state = 1;
  Floats x(static_cast<std::size_t>(count));
  for (float& each : x) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    each = (static_cast<float>(state >> 40) / 16777216.0f - 0.5f) * scale;
  }
  return x;
}

double activate(Activation f, double x) {
  const double logistic = 1 / (1 + std::exp(-x));
  switch (f) {
    case Activation::kIdentity: return x;
    case Activation::kRelu: return std::max(x, 0.0);
    case Activation::kLeakyRelu: return x > 0 ? x : 0.01 * x;
    case Activation::kElu: return x > 0 ? x : std::expm1(x);
    case Activation::kTanh: return std::tanh(x);
    case Activation::kSigmoid: return logistic;
    case Activation::kGelu: return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
    case Activation::kSilu: return x * logistic;
  }
  return 0;
}

// A run's tensors.
struct Case {
  RecurrentRun run{};
  Floats weight, bias, gain, state, drive;

  Case(std::int64_t batch, std::int64_t neurons, std::int64_t steps, Activation f, std::int64_t segment) {
    run.batch = batch;
    run.neurons = neurons;
    run.steps = steps;
    run.frames = 2;
    run.inputs = neurons;
    run.every = 2;
    run.collect = 0;
    run.segment = segment;
    run.activation = f;
    run.epsilon = 1e-6f;
    run.threads = 1;
    weight = random_floats(neurons * neurons, 3.0f / std::sqrt(static_cast<float>(neurons)));
    bias = random_floats(neurons, 0.5f);
    gain = random_floats(neurons, 0.5f);
    for (float& g : gain) g += 1.0f;
    state = random_floats(batch * neurons, 2.0f);
    drive = random_floats(batch * 2 * neurons, 2.0f);
    point();
  }
  Case(const Case& other)
      : run(other.run), weight(other.weight), bias(other.bias), gain(other.gain), state(other.state), drive(other.drive) {
    point();
  }
  Case& operator=(const Case&) = delete;

  void point() {
    run.weight = weight.data();
    run.bias = bias.data();
    run.gain = gain.data();
    run.state = state.data();
    run.drive = drive.data();
  }
};

// The sum of `direction` times the final state, by the definition.
double loss(const Case& c, const Floats& direction) {
  const auto n = static_cast<std::size_t>(c.run.neurons);
  double total = 0;
  for (std::size_t b = 0; b < static_cast<std::size_t>(c.run.batch); ++b) {
    std::vector<double> h(n), d(n);
    for (std::size_t i = 0; i < n; ++i) h[i] = c.state[b * n + i];
    for (std::int64_t t = 0; t < c.run.steps; ++t) {
      double squares = 0;
      for (std::size_t i = 0; i < n; ++i) {
        double s = c.bias[i];
        for (std::size_t k = 0; k < n; ++k) s += h[k] * c.weight[k * n + i];
        if (t % 2 == 0 && t < 4) s += c.drive[(b * 2 + static_cast<std::size_t>(t) / 2) * n + i];
        d[i] = activate(c.run.activation, s);
        squares += d[i] * d[i];
      }
      const double r = 1 / std::sqrt(squares / static_cast<double>(n) + static_cast<double>(c.run.epsilon));
      for (std::size_t i = 0; i < n; ++i) h[i] = d[i] * r * static_cast<double>(c.gain[i]);
    }
    for (std::size_t i = 0; i < n; ++i) total += h[i] * static_cast<double>(direction[b * n + i]);
  }
  return total;
}

struct Result {
  Floats final, weight, bias, gain, state, drive;

  bool operator==(const Result& other) const {
    const auto same = [](const Floats& a, const Floats& b) { return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin()); };
    return same(final, other.final) && same(weight, other.weight) && same(bias, other.bias) && same(gain, other.gain) &&
           same(state, other.state) && same(drive, other.drive);
  }
};

Result compute(const Case& c, const Floats& direction) {
  Result out{c.state, c.weight, c.bias, c.gain, c.state, c.drive};
  const auto shape = quintet::shape_of(c.run);
  Floats values(static_cast<std::size_t>(shape.slots * shape.slot)), scales(static_cast<std::size_t>(c.run.steps * c.run.batch));
  std::vector<std::uint64_t> masks(static_cast<std::size_t>(shape.masks));
  const quintet::RecurrentKept kept{values.data(), scales.data(), masks.empty() ? nullptr : masks.data()};
  quintet::recurrent_forward(c.run, out.final.data(), nullptr, &kept);
  quintet::recurrent_backward(
      c.run, kept, {direction.data(), nullptr, out.weight.data(), out.bias.data(), out.gain.data(), out.state.data(), out.drive.data()});
  return out;
}

// The slope of the loss along one number of the case, from the definition.
double difference(const Case& c, const Floats& direction, Floats Case::* part, std::size_t i) {
  Case high(c), low(c);
  const float step = 1e-3f;
  (high.*part)[i] += step;
  (low.*part)[i] -= step;
  const double width = static_cast<double>((high.*part)[i]) - static_cast<double>((low.*part)[i]);
  return (loss(high, direction) - loss(low, direction)) / width;
}

void check_values(std::int64_t batch, std::int64_t neurons, Activation f) {
  const Case c(batch, neurons, 4, f, 0);
  const Floats direction = random_floats(batch * neurons, 2.0f);
  const Result found = compute(c, direction);
  double total = 0;
  for (std::size_t i = 0; i < direction.size(); ++i) total += static_cast<double>(found.final[i]) * static_cast<double>(direction[i]);
  expect(std::abs(total - loss(c, direction)) < 1e-4 * std::sqrt(static_cast<double>(batch * neurons)), "final state", c.run);
  if (f == Activation::kRelu || f == Activation::kLeakyRelu) return;  // differences are wrong across the kink
  const std::pair<Floats Case::*, const Floats*> parts[] = {{&Case::weight, &found.weight},
                                                            {&Case::bias, &found.bias},
                                                            {&Case::gain, &found.gain},
                                                            {&Case::state, &found.state},
                                                            {&Case::drive, &found.drive}};
  for (const auto& [part, gradient] : parts) {
    for (std::size_t i : {std::size_t{0}, gradient->size() / 2, gradient->size() - 1}) {
      const double slope = difference(c, direction, part, i);
      expect(std::abs(slope - static_cast<double>((*gradient)[i])) < 2e-3 * (1 + std::abs(slope)), "gradient", c.run);
    }
  }
}

void check_same_bytes(std::int64_t batch, std::int64_t neurons, Activation f, double dropout, std::int64_t segment) {
  Case c(batch, neurons, 7, f, segment);
  c.run.dropout = dropout;
  c.run.seed = 0x123456789ABCDEF0;
  const Floats direction = random_floats(batch * neurons, 2.0f);
  quintet::use(quintet::Level::kScalar);
  const Result expected = compute(c, direction);
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
  for (int f = 0; f <= static_cast<int>(Activation::kSilu); ++f) {
    for (std::int64_t neurons : {2, 17, 70}) check_values(3, neurons, static_cast<Activation>(f));
    check_same_bytes(8, 67, static_cast<Activation>(f), 0.2, 0);
    check_same_bytes(8, 33, static_cast<Activation>(f), 0.0, 3);
  }
  check_same_bytes(0, 5, Activation::kTanh, 0.0, 0);
  check_same_bytes(1, 1, Activation::kSilu, 0.5, 2);
  std::printf("%d failed\n", failures);
  return failures != 0;
}
