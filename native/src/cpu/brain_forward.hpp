// The forward pass of a brain's window: rows go through all its tokens without waiting for others.
#pragma once

#include "brain_parts.hpp"

namespace quintet::QUINTET_NAMESPACE {

class BrainForward {
 public:
  BrainForward(const BrainWindow& window, const BrainKept& kept)
      : w_(window), kept_(kept), at_(columns_of(window.neurons, window.keys)), padded_((window.vocabulary + 15) / 16 * 16),
        through_(window, true), head_(window.head, window.vocabulary, window.neurons[kBroca], true), head_bias_(padded_) {
    std::copy_n(window.head_bias, window.vocabulary, head_bias_.get());
    std::fill_n(head_bias_.get() + window.vocabulary, padded_ - window.vocabulary, -1e30f);  // predicted by nobody
  }

  // All tokens of rows [first, last).
  void operator()(std::int64_t first, std::int64_t last) const {
    const Scratch scratch(*this, last - first);
    for (std::int64_t t = 0; t < w_.tokens; ++t) token(t, first, last, scratch);
  }

 private:
  struct Scratch {
    Scratch(const BrainForward& f, std::int64_t rows)
        : logits(rows * f.padded_), modulation(all_neurons(f.w_)),
          charge(f.w_.neurons[kPrefrontal]) {}
    const Buffer<float> logits, modulation, charge;
  };

  void token(std::int64_t t, std::int64_t first, std::int64_t last, const Scratch& s) const {
    const auto rows = [&](auto body) {
      for (std::int64_t b = first; b < last; ++b) body(b, BrainRow(w_, at_, kept_, t, b));
    };
    const auto project = [&](const Projection& projection, int source, bool before, std::int64_t column) {
      const BrainRow row(w_, at_, kept_, t, first);
      const float* from = kept_.rates[source] + (before ? row.before(source) : row.after(source));
      projection.add(from, w_.neurons[source], row.sums + column, at_.width, last - first);
    };
    predict(t, first, last, s);
    rows([&](std::int64_t b, const BrainRow& row) { begin(t, b, row); });
    project(through_.feedback, kPrefrontal, true, at_.thalamus);
    rows([&](std::int64_t, const BrainRow& row) { fire(kThalamus, row, s); });
    project(through_.thalamus, kThalamus, false, at_.wernicke);
    rows([&](std::int64_t, const BrainRow& row) { fire(kWernicke, row, s); });
    project(through_.wernicke, kWernicke, false, at_.prefrontal);
    rows([&](std::int64_t, const BrainRow& row) {
      remember(row);
      fire(kHippocampus, row, s);
    });
    project(through_.hippocampus, kHippocampus, false, at_.prefrontal);
    rows([&](std::int64_t, const BrainRow& row) {
      pace(row, s);
      fire(kPrefrontal, row, s);
    });
    project(through_.prefrontal, kPrefrontal, false, at_.basal_ganglia);
    rows([&](std::int64_t, const BrainRow& row) { fire(kBasalGanglia, row, s); });
    project(through_.basal_ganglia, kBasalGanglia, false, at_.go);
    rows([&](std::int64_t, const BrainRow& row) { fire(kBroca, row, s); });
  }

  // Logits of the tokens that have come, of what was said before.
  void predict(std::int64_t t, std::int64_t first, std::int64_t last, const Scratch& s) const {
    for (std::int64_t b = 0; b < last - first; ++b) std::copy_n(head_bias_.get(), padded_, s.logits.get() + b * padded_);
    const std::int64_t broca = w_.neurons[kBroca];
    head_.add(kept_.rates[kBroca] + (t * w_.batch + first) * broca, broca, s.logits.get(), padded_, last - first);
    for (std::int64_t b = first; b < last; ++b) {
      const float surprise = loss(s.logits.get() + (b - first) * padded_, w_.token_ids[t * w_.batch + b]);
      learn_levels(t, b, surprise);
    }
  }

  float loss(const float* logits, std::int64_t token) const {
    float lanes[16];
    F16 most = load(logits), total(0.0f);
    for (std::int64_t i = 16; i < padded_; i += 16) most = max(most, load(logits + i));
    store(lanes, most);
    float peak = lanes[0];
    for (const float lane : lanes) peak = lane > peak ? lane : peak;
    for (std::int64_t i = 0; i < padded_; i += 16) total = total + exponential(load(logits + i) - F16(peak));
    return std::log(sum(total)) + peak - logits[token];
  }

  // Dopamine, serotonin and the loss they are measured from; how far the memory opens.
  void learn_levels(std::int64_t t, std::int64_t b, float loss) const {
    const float* old = kept_.levels + 3 * (t * w_.batch + b);
    float* now = kept_.levels + 3 * ((t + 1) * w_.batch + b);
    float lanes[16] = {0.5f * (loss - old[2]), loss - old[2]};
    store(lanes, hyperbolic_tangent(load(lanes)));
    now[0] = lanes[0];
    now[1] = old[1] + 0.05f * (lanes[1] - old[1]);
    now[2] = old[2] + 0.02f * (loss - old[2]);
    store(lanes, logistic(F16(w_.plasticity[0] + w_.plasticity[1] * now[0] + w_.plasticity[2] * now[1])));
    kept_.opening[t * w_.batch + b] = lanes[0];
  }

  void begin(std::int64_t t, std::int64_t b, const BrainRow& row) const {
    const std::int64_t driven = w_.neurons[kThalamus];
    std::copy_n(w_.drive + (t * w_.batch + b) * driven, driven, row.sums);
    std::fill_n(row.sums + driven, at_.width - driven, 0.0f);
  }

  void fire(int module, const BrainRow& row, const Scratch& s) const {
    float* modulation = s.modulation.get();
    modulate(w_, module, row.levels(), modulation);
    for (std::int64_t i = 0; module == kBroca && i < w_.neurons[kBroca]; i += 16) {
      store(modulation + i, load(modulation + i) * gate_of(load(row.sums + at_.go + i)));
    }
    const std::int64_t to = row.after(module);
    const Phase phase = row.phase(module, modulation, s.charge.get());
    run_forward(phase, kept_.rates[module] + to, kept_.voltage[module] + to, kept_.adaptation[module] + to);
  }

  // The key of now, and what the memory holds under it.
  void remember(const BrainRow& row) const {
    const float* raw = row.sums + at_.key;
    float* key = kept_.key + row.entry(true) * w_.keys;
    const Moments m = key_moments(raw, w_.keys, w_.epsilon);
    float fired = 0.0f;
    for (std::int64_t i = 0; i < w_.keys; ++i) {
      key[i] = key_distance(w_, m, raw, i) > 0.0f ? 1.0f : 0.0f;
      fired += key[i];
    }
    const float scale = 1.0f / std::sqrt(fired + 1.0f);
    for (std::int64_t i = 0; i < w_.keys; ++i) key[i] *= scale;
    recall_forward(row.recall(), kept_.memory + row.entry(true) * w_.keys * w_.neurons[kHippocampus], row.sums + at_.hippocampus);
  }

  // The prefrontal cortex' decays, by its gates.
  void pace(const BrainRow& row, const Scratch& s) const {
    const float* gate = row.sums + at_.gate;
    const std::int64_t count = w_.neurons[kPrefrontal];
    const Moments m = moments(gate, count, w_.epsilon);
    for (std::int64_t i = 0; i < count; i += 16) {
      const F16 unit = (load(gate + i) - F16(m.mean)) * F16(m.rate);
      const F16 decay = logistic(fma(unit, load(w_.gate_gain + i), load(w_.gate_bias + i)));
      store(row.decay + i, decay);
      store(s.charge.get() + i, charge_of(w_, decay));
    }
  }

  const BrainWindow& w_;
  const BrainKept& kept_;
  const BrainColumns at_;
  const std::int64_t padded_;  // the vocabulary, in whole vectors
  const Projections through_;
  const Projection head_;
  const Buffer<float> head_bias_;
};

inline void run_brain_forward(const BrainWindow& window, const BrainKept& kept) {
  const BrainForward forward(window, kept);
  each_rows(window, [&](std::int64_t first, std::int64_t last) { forward(first, last); });
}

}  // namespace quintet::QUINTET_NAMESPACE
