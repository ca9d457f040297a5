// The backward pass of a brain's window: the steps of the forward pass mirrored, from the last token to the first.
#pragma once

#include "brain_parts.hpp"

namespace quintet::QUINTET_NAMESPACE {

// Sums over a group's rows and all tokens, one after the other in memory.
struct BrainSums {
  BrainSums(const BrainWindow& w, float* data)
      : vectors(data), gate(vectors + 6 * all_neurons(w)), key(gate + 2 * w.neurons[kPrefrontal]), plasticity(key + 3 * w.keys) {}

  static std::int64_t size(const BrainWindow& w) { return 6 * all_neurons(w) + 2 * w.neurons[kPrefrontal] + 3 * w.keys + 3; }

  float *vectors, *gate, *key, *plasticity;  // as in BrainGradients
};

class BrainBackward {
 public:
  BrainBackward(const BrainWindow& window, const BrainKept& kept, const BrainGradients& to)
      : w_(window), kept_(kept), to_(to), at_(columns_of(window.neurons, window.keys)),
        groups_((window.batch + kRowsInGroup - 1) / kRowsInGroup), all_(all_neurons(window)), through_(window, false),
        sums_(groups_ * BrainSums::size(window)) {
    std::fill_n(sums_.get(), groups_ * BrainSums::size(window), 0.0f);
  }

  // All tokens of rows [first, last).
  void operator()(std::int64_t first, std::int64_t last) const {
    const Scratch scratch(*this, last - first);
    for (std::int64_t t = w_.tokens - 1; t >= 0; --t) token(t, first, last, scratch);
  }

  // The groups' sums, added up in their order.
  void finish() const {
    const BrainSums first(w_, sums_.get());
    const auto total = [&](const float* part, std::int64_t count, float* to) {
      const std::int64_t offset = part - sums_.get(), size = BrainSums::size(w_);
      std::fill_n(to, count, 0.0f);
      for (std::int64_t group = 0; group < groups_; ++group) {
        const float* from = sums_.get() + group * size + offset;
        for (std::int64_t i = 0; i < count; ++i) to[i] += from[i];
      }
    };
    total(first.vectors, 6 * all_, to_.vectors);
    total(first.gate, 2 * w_.neurons[kPrefrontal], to_.gate);
    total(first.key, 3 * w_.keys, to_.key);
    total(first.plasticity, 3, to_.plasticity);
  }

 private:
  static std::int64_t widest_of(const BrainWindow& w) {
    std::int64_t most = 0;
    for (const std::int64_t neurons : w.neurons) most = std::max(most, neurons);
    return most;
  }

  // What a range of rows carries from a token to the one before, and room for one token or row.
  struct Scratch {
    Scratch(const BrainBackward& back, std::int64_t rows)
        : widest(widest_of(back.w_)), voltage(rows * back.all_), cortex(rows * back.w_.neurons[kPrefrontal]),
          memory(rows * back.w_.keys * back.w_.neurons[kHippocampus]), key(rows * back.w_.keys),
          rates(rows * widest), modulation(widest), to_modulation(widest), go(widest), charge(widest), to_decay(widest),
          to_charge(widest), to_key(back.w_.keys) {
      std::fill_n(voltage.get(), rows * back.all_, 0.0f);
      std::fill_n(cortex.get(), rows * back.w_.neurons[kPrefrontal], 0.0f);
      std::fill_n(memory.get(), rows * back.w_.keys * back.w_.neurons[kHippocampus], 0.0f);
      std::fill_n(key.get(), rows * back.w_.keys, 0.0f);
    }

    const std::int64_t widest;
    const Buffer<float> voltage, cortex, memory, key;  // gradients by the state
    const Buffer<float> rates;                         // by the rates of one module
    const Buffer<float> modulation, to_modulation, go, charge, to_decay, to_charge, to_key;
  };

  // A row at a token, with its gradients.
  struct Row {
    const BrainRow of;
    float* to;              // by the sums, in their columns
    const std::int64_t b, place;  // in the batch, among the rows of this range
    const BrainSums group;
  };

  void token(std::int64_t t, std::int64_t first, std::int64_t last, const Scratch& s) const {
    const std::int64_t count = last - first, cortex = w_.neurons[kPrefrontal];
    const auto rows = [&](auto body) {
      for (std::int64_t b = first; b < last; ++b) {
        float* sums = sums_.get() + b / kRowsInGroup * BrainSums::size(w_);
        body(Row{BrainRow(w_, at_, kept_, t, b), to_.sums + (t * w_.batch + b) * at_.width, b, b - first, BrainSums(w_, sums)});
      }
    };
    // Gradients of a module's rates: from outside, and through a projection of what they reach.
    const auto collect = [&](int module, const Projection& projection, std::int64_t column) {
      outside(module, t, first, count, s.rates.get(), false);
      projection.add(to_.sums + (t * w_.batch + first) * at_.width + column, at_.width, s.rates.get(), w_.neurons[module], count);
    };
    const auto fire_all = [&](int module) {
      rows([&](const Row& row) { fire(module, row, s.rates.get() + row.place * w_.neurons[module], s); });
    };
    outside(kBroca, t, first, count, s.rates.get(), false);
    fire_all(kBroca);
    collect(kBasalGanglia, through_.basal_ganglia, at_.go);
    fire_all(kBasalGanglia);
    outside(kPrefrontal, t, first, count, s.cortex.get(), true);
    through_.prefrontal.add(to_.sums + (t * w_.batch + first) * at_.width + at_.basal_ganglia, at_.width, s.cortex.get(), cortex, count);
    rows([&](const Row& row) {
      fire(kPrefrontal, row, s.cortex.get() + row.place * cortex, s);
      pace(row, s);
    });
    collect(kHippocampus, through_.hippocampus, at_.prefrontal);
    fire_all(kHippocampus);
    rows([&](const Row& row) { remember(row, s); });
    collect(kWernicke, through_.wernicke, at_.prefrontal);
    fire_all(kWernicke);
    collect(kThalamus, through_.thalamus, at_.wernicke);
    fire_all(kThalamus);
    std::fill_n(s.cortex.get(), count * cortex, 0.0f);
    through_.feedback.add(to_.sums + (t * w_.batch + first) * at_.width, at_.width, s.cortex.get(), cortex, count);
  }

  // The gradients of a module's rates that come from outside, written or added.
  void outside(int module, std::int64_t t, std::int64_t first, std::int64_t count, float* to, bool added) const {
    const std::int64_t size = count * w_.neurons[module];
    const float* from = to_.rates[module];
    if (from == nullptr) {
      if (!added) std::fill_n(to, size, 0.0f);
      return;
    }
    from += (t * w_.batch + first) * w_.neurons[module];
    for (std::int64_t i = 0; i < size; ++i) to[i] = added ? to[i] + from[i] : from[i];
  }

  void fire(int module, const Row& row, const float* to_rate, const Scratch& s) const {
    const std::int64_t neurons = w_.neurons[module], first = first_neuron(w_, module);
    modulate(w_, module, row.of.levels(), s.modulation.get());
    if (module == kBroca) open(row, s);
    if (module == kPrefrontal) {
      for (std::int64_t i = 0; i < neurons; i += 16) store(s.charge.get() + i, charge_of(w_, load(row.of.decay + i)));
    }
    float *vectors = row.group.vectors + first, *voltage = s.voltage.get() + row.place * all_ + first;
    const bool own = module == kPrefrontal;
    const PhaseGradients gradients{to_rate, voltage, row.to + column_of(at_, module), vectors, vectors + all_, s.to_modulation.get(),
                                   own ? s.to_decay.get() : vectors + 2 * all_, own ? s.to_charge.get() : vectors + 3 * all_, voltage};
    PhaseBackward(row.of.phase(module, s.modulation.get(), s.charge.get()), gradients)();
    if (module == kBroca) close(row, s);
    const F16 dopamine(row.of.levels()[0]), serotonin(row.of.levels()[1]);
    for (std::int64_t i = 0; i < neurons; i += 16) {
      const F16 change = load(s.to_modulation.get() + i);
      float* to = vectors + 4 * all_ + i;
      store(to, fma(dopamine, change, load(to)));
      store(to + all_, fma(serotonin, change, load(to + all_)));
    }
  }

  // Broca's modulation under the gate, and the gradients of both.
  void open(const Row& row, const Scratch& s) const {
    for (std::int64_t i = 0; i < w_.neurons[kBroca]; i += 16) {
      const F16 go = gate_of(load(row.of.sums + at_.go + i));
      store(s.go.get() + i, go);
      store(s.modulation.get() + i, load(s.modulation.get() + i) * go);
    }
  }
  void close(const Row& row, const Scratch& s) const {
    modulate(w_, kBroca, row.of.levels(), s.modulation.get());
    for (std::int64_t i = 0; i < w_.neurons[kBroca]; i += 16) {
      const F16 opened = load(s.to_modulation.get() + i), go = load(s.go.get() + i);
      store(row.to + at_.go + i, opened * load(s.modulation.get() + i) * gate_slope(go));
      store(s.to_modulation.get() + i, opened * go);
    }
  }

  // Of the prefrontal cortex' gates, from those of its decays and charges.
  void pace(const Row& row, const Scratch& s) const {
    const std::int64_t count = w_.neurons[kPrefrontal];
    const float* gate = row.of.sums + at_.gate;
    float *to = row.to + at_.gate, *to_gain = row.group.gate, *to_bias = to_gain + count;
    const Moments m = moments(gate, count, w_.epsilon);
    F16 total(0.0f), along(0.0f);
    for (std::int64_t i = 0; i < count; i += 16) {
      const F16 decay = load(row.of.decay + i), charge = load(s.charge.get() + i);
      const F16 unit = (load(gate + i) - F16(m.mean)) * F16(m.rate);
      const F16 change = (load(s.to_decay.get() + i) - load(s.to_charge.get() + i) * decay / charge) * (decay - decay * decay);
      store(to_gain + i, fma(change, unit, load(to_gain + i)));
      add(to_bias + i, change);
      const F16 by_unit = change * load(w_.gate_gain + i);
      store(to + i, by_unit);
      total = total + by_unit;
      along = fma(by_unit, unit, along);
    }
    const float share = 1.0f / static_cast<float>(count);
    const F16 mean(sum(total) * share), slope(sum(along) * share);
    for (std::int64_t i = 0; i < count; i += 16) {
      const F16 unit = (load(gate + i) - F16(m.mean)) * F16(m.rate);
      store(to + i, F16(m.rate) * (load(to + i) - mean - unit * slope));
    }
  }

  void remember(const Row& row, const Scratch& s) const {
    const std::int64_t keys = w_.keys, width = w_.neurons[kHippocampus];
    float *to_now = s.to_key.get(), *carried = s.key.get() + row.place * keys;
    const RecallGradients gradients{row.to + at_.hippocampus, s.memory.get() + row.place * keys * width, row.to + at_.key, to_now,
                                    row.to + at_.value, row.group.key + 2 * keys};
    const Recall recall = row.of.recall();
    const float to_opening = recall_backward(recall, gradients);
    for (std::int64_t i = 0; i < keys; ++i) {
      to_now[i] += carried[i];
      carried[i] = row.to[at_.key + i];
    }
    const float closed = to_opening * (recall.opening - recall.opening * recall.opening);
    row.group.plasticity[0] += closed;
    for (int i = 0; i < 2; ++i) row.group.plasticity[1 + i] += row.of.levels()[i] * closed;
    through_key(row, recall.key, to_now);
  }

  // Through k = f / sqrt(sum f + 1) and the spikes f to the projection.
  void through_key(const Row& row, const float* key, const float* to_key) const {
    constexpr float kPi = 3.14159265f;
    const std::int64_t keys = w_.keys;
    const float* raw = row.of.sums + at_.key;
    float *to = row.to + at_.key, *to_gain = row.group.key, *to_bias = to_gain + keys;
    const Moments m = key_moments(raw, keys, w_.epsilon);
    float fired = 0.0f, carried = 0.0f;
    for (std::int64_t i = 0; i < keys; ++i) {
      fired += key[i] > 0.0f ? 1.0f : 0.0f;
      carried += to_key[i] * key[i];
    }
    const float scale = 1.0f / std::sqrt(fired + 1.0f), shared = 0.5f * scale * scale * carried, share = 1.0f / static_cast<float>(keys);
    float total = 0.0f, along = 0.0f;
    for (std::int64_t i = 0; i < keys; ++i) {
      const float u = kPi * key_distance(w_, m, raw, i), unit = (raw[i] - m.mean) * m.rate;
      const float change = (scale * to_key[i] - shared) * w_.height / (1.0f + u * u);
      to_gain[i] += change * unit;
      to_bias[i] += change;
      to[i] = change * w_.key_gain[i];
      total += to[i];
      along += to[i] * unit;
    }
    for (std::int64_t i = 0; i < keys; ++i) to[i] = m.rate * (to[i] - total * share - (raw[i] - m.mean) * m.rate * (along * share));
  }

  const BrainWindow& w_;
  const BrainKept& kept_;
  const BrainGradients& to_;
  const BrainColumns at_;
  const std::int64_t groups_, all_;
  const Projections through_;
  const Buffer<float> sums_;
};

inline void run_brain_backward(const BrainWindow& window, const BrainKept& kept, const BrainGradients& gradients) {
  const BrainBackward backward(window, kept, gradients);
  each_rows(window, [&](std::int64_t first, std::int64_t last) { backward(first, last); });
  backward.finish();
}

}  // namespace quintet::QUINTET_NAMESPACE
