// Sparse connections against their definition in double precision, forwards and backwards; the same bytes at every level and for every
// number of threads; gradients that are not wanted stay away, and those of weights add up.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "check.hpp"
#include "quintet/cpu.hpp"
#include "quintet/fan_in.hpp"

namespace {

using check::expect;
using quintet::FanIn;
using quintet::kColumn;
using Floats = std::vector<float>;

std::size_t at(std::int64_t row, std::int64_t step, std::int64_t column) { return static_cast<std::size_t>(row * step + column); }

Floats random_floats(std::int64_t count) {
  Floats x(static_cast<std::size_t>(count));
  for (float& each : x) each = static_cast<float>(check::random(2001) - 1000) / 1000.0f;
  return x;
}

// A run's tensors.
struct Case {
  FanIn run{};
  Floats weight, x, gradient;
  std::vector<std::int32_t> sources;

  Case(std::int64_t batch, std::int64_t inputs, std::int64_t outputs, std::int64_t fan)
      : weight(random_floats(outputs * fan)), x(random_floats(batch * inputs)), gradient(random_floats(batch * outputs)) {
    const std::int64_t columns = (outputs + kColumn - 1) / kColumn;
    for (std::int64_t c = 0; c < columns; ++c) choose(inputs, fan);
    run = {batch, inputs, outputs, fan, weight.data(), sources.data(), x.data(), 1};
  }
  Case(const Case&) = delete;
  Case& operator=(const Case&) = delete;

 private:
  // A column's sources: `fan` different ones, rising, that need not be spread evenly.
  void choose(std::int64_t inputs, std::int64_t fan) {
    std::int64_t wanted = fan;
    for (std::int64_t i = 0; i < inputs && wanted > 0; ++i) {
      if (check::random(static_cast<int>(inputs - i)) >= wanted) continue;
      sources.push_back(static_cast<std::int32_t>(i));
      --wanted;
    }
  }
};

struct Result {
  Floats y, weight, x;

  bool operator==(const Result& other) const { return same(y, other.y) && same(weight, other.weight) && same(x, other.x); }

 private:
  static bool same(const Floats& a, const Floats& b) {
    return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
  }
};

// With numbers that mean nothing where the run must write.
Result compute(const Case& c, bool accumulate) {
  Result out{Floats(c.gradient.size(), NAN), Floats(c.weight.size(), accumulate ? 0.5f : NAN), Floats(c.x.size(), NAN)};
  quintet::fan_in_forward(c.run, out.y.data());
  quintet::fan_in_backward(c.run, {c.gradient.data(), out.weight.data(), out.x.data(), accumulate});
  return out;
}

bool near(float found, double wanted, double size) { return std::abs(static_cast<double>(found) - wanted) <= 1e-6 * size + 1e-6; }

void check_values(const Case& c) {
  const FanIn& run = c.run;
  const Result found = compute(c, false);
  std::vector<double> weight(c.weight.size()), x(c.x.size());
  bool forwards = true;
  for (std::int64_t b = 0; b < run.batch; ++b) {
    for (std::int64_t i = 0; i < run.outputs; ++i) {
      const auto g = static_cast<double>(c.gradient[at(b, run.outputs, i)]);
      double total = 0;
      for (std::int64_t k = 0; k < run.fan; ++k) {
        const std::int32_t source = c.sources[at(i / kColumn, run.fan, k)];
        const auto w = static_cast<double>(c.weight[at(i, run.fan, k)]), input = static_cast<double>(c.x[at(b, run.inputs, source)]);
        total += w * input;
        weight[at(i, run.fan, k)] += g * input;
        x[at(b, run.inputs, source)] += g * w;
      }
      forwards = forwards && near(found.y[at(b, run.outputs, i)], total, static_cast<double>(run.fan));
    }
  }
  expect(forwards, "forwards", run.batch, run.outputs);
  const auto all_near = [](const Floats& some, const std::vector<double>& wanted, std::int64_t size) {
    return std::equal(some.begin(), some.end(), wanted.begin(), [&](float a, double b) { return near(a, b, static_cast<double>(size)); });
  };
  expect(all_near(found.weight, weight, run.batch), "gradient of weights", run.batch, run.outputs);
  expect(all_near(found.x, x, run.outputs), "gradient of inputs", run.batch, run.inputs);
}

void check_same_bytes(Case& c, bool accumulate) {
  quintet::use(quintet::Level::kScalar);
  const Result wanted = compute(c, accumulate);
  for (const quintet::Level level : quintet::levels()) {
    quintet::use(level);
    for (int threads : {1, 2, 3, 5}) {
      c.run.threads = threads;
      expect(compute(c, accumulate) == wanted, "the same bytes", c.run.batch, c.run.outputs);
    }
  }
}

// What is asked for alone is what it is beside the other; added to another gradient, it is the sum.
void check_parts(const Case& c) {
  const Result both = compute(c, false), more = compute(c, true);
  Floats weight(c.weight.size(), NAN), x(c.x.size(), NAN);
  quintet::fan_in_backward(c.run, {c.gradient.data(), weight.data(), nullptr, false});
  quintet::fan_in_backward(c.run, {c.gradient.data(), nullptr, x.data(), false});
  expect((Result{both.y, weight, x} == both), "one gradient alone", c.run.batch, c.run.outputs);
  for (float& each : weight) each = 0.5f + each;
  expect(weight == more.weight, "gradients add up", c.run.batch, c.run.outputs);
}

}  // namespace

int main() {
  const std::int64_t shapes[][4] = {{1, 16, 16, 16}, {3, 50, 37, 16},   {16, 64, 64, 48},  {17, 100, 1, 32},  {64, 300, 80, 64},
                                    {70, 90, 33, 16}, {130, 70, 50, 64}, {64, 2048, 16384, 16}};
  for (const auto& [batch, inputs, outputs, fan] : shapes) {
    Case c(batch, inputs, outputs, fan);
    for (const quintet::Level level : quintet::levels()) {
      quintet::use(level);
      check_values(c);
    }
    check_parts(c);
    check_same_bytes(c, false);
    check_same_bytes(c, true);
  }
  Case none(0, 20, 20, 16);
  check_same_bytes(none, false);
  check_parts(none);
  return check::report();
}
