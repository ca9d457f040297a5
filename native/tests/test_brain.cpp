// A brain's window: the same bytes at every level and for every number of threads, rows that do not know of each other, and gradients of
// vectors that are the sums of the rows' own. That it computes the definition is a test in Python.
#include "quintet/brain.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "check.hpp"
#include "quintet/cpu.hpp"

namespace {

using check::expect;
using Floats = std::vector<float>;

Floats random_floats(std::int64_t count, float low, float high) {
  Floats x(static_cast<std::size_t>(count));
  for (float& each : x) each = low + static_cast<float>(check::random(1 << 24)) / 16777216.0f * (high - low);
  return x;
}

// Weights, tokens, drive and state of some rows.
struct Case {
  quintet::BrainWindow window{};
  std::vector<std::int64_t> tokens;
  std::vector<Floats> given;
  Floats voltage, memory, key, levels;
  std::int64_t all = 0, width = 0;

  explicit Case(std::int64_t batch, std::int64_t keys) {
    window.batch = batch;
    window.tokens = 5;
    window.vocabulary = 19;
    window.keys = keys;
    const std::int64_t neurons[] = {16, 80, 32, 48, 16, 64}, steps[] = {2, 4, 1, 3, 16, 4};
    std::copy_n(neurons, 6, window.neurons);
    std::copy_n(steps, 6, window.steps);
    window.rho = 0.9f, window.beta = 1.5f, window.height = 0.25f, window.epsilon = 1e-5f;
    window.key_threshold = 0.5f, window.slack = 1.000001f;
    all = quintet::all_neurons(window);
    width = quintet::columns_of(window.neurons, keys).width;
    for (std::int64_t i = 0; i < window.tokens * batch; ++i) tokens.push_back(check::random(19));
    window.token_ids = tokens.data();
    given.reserve(20);
    fill();
    voltage = random_floats(batch * all, -0.5f, 0.8f);
    memory = random_floats(batch * keys * neurons[quintet::kHippocampus], -1.0f, 1.0f);
    key = random_floats(batch * keys, 0.0f, 0.3f);
    levels = random_floats(batch * 3, 0.0f, 2.0f);
  }
  Case(const Case&) = delete;
  Case& operator=(const Case&) = delete;

  const float* take(std::int64_t count, float low, float high) {
    given.push_back(random_floats(count, low, high));
    return given.back().data();
  }

  void fill() {
    const std::int64_t *n = window.neurons, gated = 2 * n[quintet::kPrefrontal], keys = window.keys;
    window.drive = take(window.tokens * window.batch * n[0], -1.0f, 1.0f);
    window.feedback = take((n[0] + n[1] + gated) * n[3], -0.3f, 0.3f);
    window.thalamus = take(n[1] * n[0], -0.3f, 0.3f);
    window.wernicke = take((gated + keys + n[2]) * n[1], -0.3f, 0.3f);
    window.hippocampus = take(gated * n[2], -0.3f, 0.3f);
    window.prefrontal = take((n[4] + n[5]) * n[3], -0.3f, 0.3f);
    window.basal_ganglia = take(n[5] * n[4], -0.3f, 0.3f);
    window.head = take(window.vocabulary * n[5], -0.3f, 0.3f);
    window.head_bias = take(window.vocabulary, -0.3f, 0.3f);
    window.gain = take(all, 0.8f, 1.6f);
    window.bias = take(all, -0.2f, 0.5f);
    window.decay = take(all, 0.1f, 0.6f);
    window.charge = take(all, 0.7f, 1.0f);
    window.sensitivity = take(2 * all, -0.1f, 0.2f);
    window.gate_gain = take(n[3], 0.8f, 1.2f);
    window.gate_bias = take(n[3], -1.0f, 2.0f);
    window.key_gain = take(keys, 0.8f, 1.2f);
    window.key_bias = take(keys, 0.0f, 0.8f);
    window.retention = take(keys, 0.4f, 0.99f);
    window.plasticity = take(3, -0.5f, 0.5f);
  }
};

struct Result {
  std::vector<Floats> rates, sums;  // of each row: all it did, and the gradients by its sums
  Floats vectors;                   // all gradients of vectors

  bool operator==(const Result& other) const { return rates == other.rates && sums == other.sums && vectors == other.vectors; }
};

// What some rows of a case compute when they are all that there is.
class Run {
 public:
  Run(const Case& c, std::int64_t first, std::int64_t count, int threads) : c_(c), w_(c.window), first_(first) {
    const std::int64_t batch = c.window.batch;
    w_.batch = count;
    w_.threads = threads;
    for (std::int64_t t = 0; t < w_.tokens; ++t) {
      const std::int64_t* tokens = c.tokens.data() + t * batch + first;
      tokens_.insert(tokens_.end(), tokens, tokens + count);
      const float* drive = c.window.drive + (t * batch + first) * w_.neurons[0];
      drive_.insert(drive_.end(), drive, drive + count * w_.neurons[0]);
    }
    w_.token_ids = tokens_.data();
    w_.drive = drive_.data();
  }

  Result operator()() {
    quintet::BrainKept kept{};
    const Floats none(static_cast<std::size_t>(w_.batch * c_.all));
    for (int m = 0; m < quintet::kBrainModules; ++m) {
      kept.rates[m] = history(none.data(), w_.neurons[m]);
      kept.voltage[m] = history(c_.voltage.data() + first_ * c_.all, w_.neurons[m]);
      kept.adaptation[m] = history(none.data(), w_.neurons[m]);
    }
    kept.memory = history(c_.memory.data(), w_.keys * w_.neurons[quintet::kHippocampus]);
    kept.key = history(c_.key.data(), w_.keys);
    kept.levels = history(c_.levels.data(), 3);
    kept.sums = room(w_.tokens * w_.batch * c_.width);
    kept.decay = room(w_.tokens * w_.batch * w_.neurons[quintet::kPrefrontal]);
    kept.opening = room(w_.tokens * w_.batch);
    quintet::brain_forward(w_, kept);
    return back(kept);
  }

 private:
  Result back(const quintet::BrainKept& kept) {
    Result result;
    quintet::BrainGradients to{};
    const std::int64_t broca = w_.neurons[quintet::kBroca], keys = w_.keys, gates = w_.neurons[quintet::kPrefrontal];
    float* direction = room(w_.tokens * w_.batch * broca);
    for (std::int64_t i = 0; i < w_.tokens * w_.batch * broca; ++i) direction[i] = static_cast<float>(i % broca % 7) - 3.0f;
    to.rates[quintet::kBroca] = direction;
    to.sums = room(w_.tokens * w_.batch * c_.width);
    result.vectors.resize(static_cast<std::size_t>(6 * c_.all + 2 * gates + 3 * keys + 3));
    to.vectors = result.vectors.data();
    to.gate = to.vectors + 6 * c_.all;
    to.key = to.gate + 2 * gates;
    to.plasticity = to.key + 3 * keys;
    quintet::brain_backward(w_, kept, to);
    for (std::int64_t b = 0; b < w_.batch; ++b) {
      result.rates.push_back(of_row(kept.rates[quintet::kBroca] + w_.batch * broca, broca, b));
      result.sums.push_back(of_row(to.sums, c_.width, b));
    }
    return result;
  }

  float* room(std::int64_t count) {
    rooms_.emplace_back(static_cast<std::size_t>(count));
    return rooms_.back().data();
  }

  // Behind the state, of which rows take their part by their number (all have the same in its first rows, but for the voltage).
  float* history(const float* state, std::int64_t count) {
    float* to = room((w_.tokens + 1) * w_.batch * count);
    std::copy_n(state, w_.batch * count, to);
    return to;
  }

  Floats of_row(const float* x, std::int64_t columns, std::int64_t b) const {
    Floats row;
    for (std::int64_t t = 0; t < w_.tokens; ++t) {
      const float* from = x + (t * w_.batch + b) * columns;
      row.insert(row.end(), from, from + columns);
    }
    return row;
  }

  const Case& c_;
  quintet::BrainWindow w_;
  const std::int64_t first_;
  std::vector<std::int64_t> tokens_;
  Floats drive_;
  std::vector<Floats> rooms_;
};

void check_bytes(std::int64_t batch, std::int64_t keys) {
  const Case c(batch, keys);
  quintet::use(quintet::Level::kScalar);
  const Result expected = Run(c, 0, batch, 1)();
  for (const Floats& row : expected.rates) {
    expect(std::all_of(row.begin(), row.end(), [](float r) { return r == 0.0f || r == 0.25f || r == 0.5f || r == 0.75f || r == 1.0f; }),
           "rates are shares of four steps", batch, keys);
    expect(std::any_of(row.begin(), row.end(), [](float r) { return r > 0.0f; }), "Broca speaks", batch, keys);
  }
  expect(std::all_of(expected.vectors.begin(), expected.vectors.end(), [](float x) { return std::isfinite(x); }), "finite", batch, keys);
  for (const quintet::Level level : quintet::levels()) {
    quintet::use(level);
    for (int threads : {1, 2, 5}) expect(Run(c, 0, batch, threads)() == expected, "the same bytes", batch, keys);
  }
}

// Rows that have the same state (the first) do alone what they do among others.
void check_rows() {
  Case c(11, 4);
  const auto repeat = [](Floats& x) {
    const std::size_t size = x.size() / 11;
    for (std::size_t i = size; i < x.size(); ++i) x[i] = x[i % size];
  };
  std::fill(c.voltage.begin(), c.voltage.end(), 0.25f);
  for (Floats* part : {&c.memory, &c.key, &c.levels}) repeat(*part);
  const Result together = Run(c, 0, 11, 1)();
  Floats total(together.vectors.size());
  for (std::int64_t b = 0; b < 11; ++b) {
    const Result alone = Run(c, b, 1, 1)();
    expect(alone.rates[0] == together.rates[static_cast<std::size_t>(b)], "a row alone", b);
    expect(alone.sums[0] == together.sums[static_cast<std::size_t>(b)], "a row's gradients alone", b);
    for (std::size_t i = 0; i < total.size(); ++i) total[i] += alone.vectors[i];
  }
  for (std::size_t i = 0; i < total.size(); ++i) {
    expect(std::abs(total[i] - together.vectors[i]) <= 1e-3f * (1.0f + std::abs(total[i])), "sums over rows", static_cast<std::int64_t>(i));
  }
}

}  // namespace

int main() {
  check_bytes(0, 16);
  check_bytes(1, 16);
  check_bytes(3, 5);
  check_bytes(17, 33);
  check_bytes(70, 1);
  check_rows();
  return check::report();
}
