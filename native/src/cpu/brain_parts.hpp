// What both passes of a brain's window use: projections, the functions of gates and keys, and the rows that are worked on together.
#pragma once

#include "activation.hpp"
#include "buffer.hpp"
#include "phase_run.hpp"
#include "product.hpp"
#include "quintet/brain.hpp"
#include "recall.hpp"

namespace quintet::QUINTET_NAMESPACE {

// A matrix as the right operand of products, in panels of 64 columns; the last is filled up with zeros.
class Projection {
 public:
  // Of a weight [outputs, inputs]: `forward` maps inputs to outputs, else gradients of outputs to those of inputs. The first `negative`
  // outputs inhibit.
  Projection(const float* weight, std::int64_t outputs, std::int64_t inputs, bool forward, std::int64_t negative = 0)
      : depth_(forward ? inputs : outputs), columns_(forward ? outputs : inputs), data_(panels() * depth_ * kWidth) {
    for (std::int64_t i = 0; i < panels(); ++i) forward ? pack_turned(weight, i, negative) : pack(weight, i, negative);
  }

  // to[row, columns] += from[row, depth] times the matrix; whole vectors of `to` are written.
  void add(const float* from, std::int64_t from_step, float* to, std::int64_t to_step, std::int64_t rows) const {
    for (std::int64_t i = 0; i < panels(); ++i) {
      const float* panel = data_.get() + i * depth_ * kWidth;
      const std::int64_t vectors = (columns_in(i) + 15) / 16;
      product({from, from_step, 0, 1}, {panel, 0, kWidth}, 1, depth_, rows, vectors, to + i * kWidth, to_step, true);
    }
  }

 private:
  static constexpr std::int64_t kWidth = 64;

  std::int64_t panels() const { return (columns_ + kWidth - 1) / kWidth; }
  std::int64_t columns_in(std::int64_t panel) const { return std::min(kWidth, columns_ - panel * kWidth); }

  void pack(const float* weight, std::int64_t panel, std::int64_t negative) const {
    const std::int64_t count = columns_in(panel);
    float* to = data_.get() + panel * depth_ * kWidth;
    for (std::int64_t k = 0; k < depth_; ++k, to += kWidth) {
      const float* from = weight + k * columns_ + panel * kWidth;
      const float sign = k < negative ? -1.0f : 1.0f;
      for (std::int64_t j = 0; j < count; ++j) to[j] = sign * from[j];
      std::fill_n(to + count, kWidth - count, 0.0f);
    }
  }

  // Square pieces of 16 stay in the first-level cache while they are turned.
  void pack_turned(const float* weight, std::int64_t panel, std::int64_t negative) const {
    const std::int64_t count = columns_in(panel);
    float* to = data_.get() + panel * depth_ * kWidth;
    if (count < kWidth) std::fill_n(to, depth_ * kWidth, 0.0f);
    for (std::int64_t k = 0; k < depth_; k += 16) {
      const std::int64_t deep = std::min<std::int64_t>(16, depth_ - k);
      for (std::int64_t j = 0; j < count; ++j) {
        const std::int64_t row = panel * kWidth + j;
        const float* from = weight + row * depth_ + k;
        const float sign = row < negative ? -1.0f : 1.0f;
        for (std::int64_t l = 0; l < deep; ++l) to[(k + l) * kWidth + j] = sign * from[l];
      }
    }
  }

  const std::int64_t depth_, columns_;
  const Buffer<float> data_;
};

// All of a brain's projections in one direction.
struct Projections {
  Projections(const BrainWindow& w, bool forward)
      : feedback(w.feedback, w.neurons[kThalamus] + w.neurons[kWernicke] + 2 * w.neurons[kPrefrontal], w.neurons[kPrefrontal], forward,
                 w.neurons[kThalamus]),
        thalamus(w.thalamus, w.neurons[kWernicke], w.neurons[kThalamus], forward),
        wernicke(w.wernicke, 2 * w.neurons[kPrefrontal] + w.keys + w.neurons[kHippocampus], w.neurons[kWernicke], forward),
        hippocampus(w.hippocampus, 2 * w.neurons[kPrefrontal], w.neurons[kHippocampus], forward),
        prefrontal(w.prefrontal, w.neurons[kBasalGanglia] + w.neurons[kBroca], w.neurons[kPrefrontal], forward),
        basal_ganglia(w.basal_ganglia, w.neurons[kBroca], w.neurons[kBasalGanglia], forward) {}

  const Projection feedback, thalamus, wernicke, hippocampus, prefrontal, basal_ganglia;
};

// How far Broca's neurons may go, of what the basal ganglia say, and the derivative of that by what they say.
inline F16 gate_of(F16 said) { return F16(2.0f) * logistic(said - F16(1.0f)); }
inline F16 gate_slope(F16 go) { return go - F16(0.5f) * (go * go); }

inline F16 charge_of(const BrainWindow& window, F16 decay) { return square_root(F16(window.slack) - decay * decay); }

// A module's gain of dopamine and serotonin, for each of its neurons.
inline void modulate(const BrainWindow& window, int module, const float* levels, float* modulation) {
  const float* to_dopamine = window.sensitivity + first_neuron(window, module);
  const float* to_serotonin = to_dopamine + all_neurons(window);
  const F16 dopamine(levels[0]), serotonin(levels[1]);
  for (std::int64_t i = 0; i < window.neurons[module]; i += 16) {
    store(modulation + i, fma(serotonin, load(to_serotonin + i), fma(dopamine, load(to_dopamine + i), F16(1.0f))));
  }
}

// Of the key units' projection: any number of them.
inline Moments key_moments(const float* raw, std::int64_t count, float epsilon) {
  const auto share = 1.0f / static_cast<float>(count);
  float total = 0.0f, squares = 0.0f;
  for (std::int64_t i = 0; i < count; ++i) total += raw[i];
  const float mean = total * share;
  for (std::int64_t i = 0; i < count; ++i) squares += (raw[i] - mean) * (raw[i] - mean);
  return {mean, 1.0f / std::sqrt(squares * share + epsilon)};
}

// How far above its threshold a key unit is.
inline float key_distance(const BrainWindow& window, Moments m, const float* raw, std::int64_t i) {
  return (raw[i] - m.mean) * m.rate * window.key_gain[i] + window.key_bias[i] - window.key_threshold;
}

// Where a module's currents lie.
inline std::int64_t column_of(const BrainColumns& at, int module) {
  const std::int64_t columns[] = {at.thalamus, at.wernicke, at.hippocampus, at.prefrontal, at.basal_ganglia, at.broca};
  return columns[module];
}

// A row at a token: where its numbers lie, and its phases.
class BrainRow {
 public:
  BrainRow(const BrainWindow& window, const BrainColumns& columns, const BrainKept& kept, std::int64_t t, std::int64_t b)
      : at(columns), sums(kept.sums + (t * window.batch + b) * columns.width), decay(kept.decay + place(t, b, kPrefrontal, window)),
        w(window), kept_(kept), t_(t), b_(b) {}

  std::int64_t before(int module) const { return place(t_, b_, module, w); }
  std::int64_t after(int module) const { return place(t_ + 1, b_, module, w); }
  std::int64_t entry(bool later = false) const { return (t_ + later) * w.batch + b_; }
  const float* levels() const { return kept_.levels + 3 * entry(true); }

  // Of the hippocampus' memory at this token.
  Recall recall() const {
    const std::int64_t width = w.neurons[kHippocampus];
    return {w.keys, width, kept_.memory + entry() * w.keys * width, kept_.key + entry() * w.keys, kept_.key + entry(true) * w.keys,
            sums + at.value, w.retention, kept_.opening[entry()]};
  }

  // A module's phase; `charge` is the prefrontal cortex' own.
  Phase phase(int module, const float* modulation, const float* charge) const {
    const std::int64_t first = first_neuron(w, module);
    const bool by_row = module == kPrefrontal;
    Phase phase{};
    phase.batch = 1;
    phase.neurons = w.neurons[module];
    phase.steps = w.steps[module];
    phase.by_row = by_row;
    phase.rho = w.rho;
    phase.beta = w.beta;
    phase.height = w.height;
    phase.epsilon = w.epsilon;
    phase.current = sums + column_of(at, module);
    phase.gain = w.gain + first;
    phase.bias = w.bias + first;
    phase.modulation = modulation;
    phase.decay = by_row ? decay : w.decay + first;
    phase.charge = by_row ? charge : w.charge + first;
    phase.voltage = kept_.voltage[module] + before(module);
    phase.adaptation = kept_.adaptation[module] + before(module);
    return phase;
  }

  const BrainColumns& at;
  float *const sums, *const decay;

 private:
  static std::int64_t place(std::int64_t t, std::int64_t b, int module, const BrainWindow& w) {
    return (t * w.batch + b) * w.neurons[module];
  }

  const BrainWindow& w;
  const BrainKept& kept_;
  const std::int64_t t_, b_;
};

constexpr std::int64_t kRowsInGroup = 8;    // sums over rows are made group by group, so they do not depend on who took which
constexpr std::int64_t kGroupsTogether = 8;  // that go through a window's tokens together

// Calls body(first row, last row) for all of a window's rows, by its threads.
template <class Body>
void each_rows(const BrainWindow& window, Body body) {
  parallel(window.threads, (window.batch + kRowsInGroup - 1) / kRowsInGroup, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t group = begin; group < end; group += kGroupsTogether) {
      body(group * kRowsInGroup, std::min(window.batch, std::min(end, group + kGroupsTogether) * kRowsInGroup));
    }
  });
}

}  // namespace quintet::QUINTET_NAMESPACE
