// The steps of a run, on a range of rows: used by the forward pass, and by the backward pass to compute again what was not kept.
#pragma once

#include <optional>

#include "activation.hpp"
#include "philox.hpp"
#include "recurrent_tiles.hpp"

namespace quintet::QUINTET_NAMESPACE {

// One step's arrays, in tiles; `sums` and `masks` may be null, `sums` may be `values`' own place (then only values are kept).
struct Step {
  std::int64_t time;
  const float* previous;         // d of the step before, null: zero
  const float* previous_scales;  // r of the step before
  float* values;                 // d
  float* sums;                   // s
  float* scales;                 // r
  std::uint64_t* masks;          // [tiles, rows]
};

struct Dropout {
  std::uint32_t threshold;
  float scale;  // of what is kept

  explicit Dropout(double probability)
      : threshold(static_cast<std::uint32_t>(std::min(std::nearbyint(probability * 4294967296.0), 4294967295.0))),
        scale(static_cast<float>(1.0 / (1.0 - probability))) {}
  bool active() const { return threshold != 0; }
};

// The frame that enters at step t, or -1.
inline std::int64_t frame_at(const RecurrentRun& run, std::int64_t t) {
  const std::int64_t frame = std::min(t / run.every, run.frames - 1);
  return run.hold || t == frame * run.every ? frame : -1;
}

class Forward {
 public:
  explicit Forward(const RecurrentRun& run)
      : run_(run), tiles_(run), dropout_(run.dropout), bias_(tiles_.padded()), weight_(tiles_, run.weight, run.gain, false, run.threads) {
    std::copy_n(run.bias, run.neurons, bias_.get());
    std::fill_n(bias_.get() + run.neurons, tiles_.padded() - run.neurons, 0.0f);
    if (run.state == nullptr) return;
    // A state from outside is no product of a value and a gain: its step takes W itself.
    state_ = Buffer<float>(tiles_.slot);
    for (std::int64_t b = 0; b < run.batch; ++b) spread_row(tiles_, run.state + b * run.neurons, state_.get() + b * tiles_.width);
    first_.emplace(tiles_, run.weight, nullptr, false, run.threads);
  }

  const float* state() const { return state_.get(); }

  // Rows [first, last) of one step.
  void operator()(const Step& step, std::int64_t first, std::int64_t last) const {
    with_activation(run_.activation, [&](auto f) { rows<f>(step, first, last); });
  }

 private:
  template <Activation f>
  void rows(const Step& step, std::int64_t first, std::int64_t last) const {
    const bool begins = step.time == 0;
    const float* source = begins ? state_.get() : step.previous;
    if (source != nullptr) {
      (begins ? *first_ : weight_).multiply(source, step.values, first, last);
    } else {
      for (std::int64_t i = 0; i < tiles_.count; ++i) {
        std::fill_n(step.values + i * tiles_.step() + first * tiles_.width, (last - first) * tiles_.width, 0.0f);
      }
    }
    Buffer<float> entering(tiles_.padded());
    const std::int64_t frame = frame_at(run_, step.time);
    for (std::int64_t b = first; b < last; ++b) {
      const float* added = bias_.get();
      if (frame >= 0) {
        enter(run_.drive + (b * run_.frames + frame) * run_.inputs, entering.get());
        added = entering.get();
      }
      step.scales[b] = row<f>(step, b, begins ? 1.0f : step.previous_scales[b], added);
    }
  }

  // bias + I_t of one row.
  void enter(const float* frame, float* entering) const {
    std::copy_n(bias_.get(), tiles_.padded(), entering);
    for (std::int64_t i = 0; i < run_.inputs; ++i) entering[run_.places == nullptr ? i : run_.places[i]] += frame[i];
  }

  // Ends a step for one row whose product lies in `values`; returns r.
  template <Activation f>
  float row(const Step& step, std::int64_t b, float scale, const float* added) const {
    F16 squares(0.0f);
    const F16 r(scale), keep(dropout_.scale), zero(0.0f);
    for (std::int64_t i = 0; i < tiles_.count; ++i) {
      const std::int64_t place = i * tiles_.step() + b * tiles_.width, columns = tiles_.columns_in(i);
      std::uint64_t mask = ~std::uint64_t{0};
      if (dropout_.active()) {
        mask = kept_lanes(static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(b), static_cast<std::uint32_t>(step.time), run_.seed,
                          dropout_.threshold);
        if (step.masks != nullptr) step.masks[i * tiles_.rows + b] = mask;
      }
      for (std::int64_t v = 0; v < tiles_.vectors_in(i); ++v) {
        const F16 s = fma(load(step.values + place + 16 * v), r, load(added + i * tiles_.width + 16 * v));
        if (step.sums != nullptr) store(step.sums + place + 16 * v, s);
        F16 d = value<f>(s);
        if (dropout_.active()) d = select(static_cast<Lanes>(mask >> 16 * v), d * keep, zero);
        if (columns < 16 * (v + 1)) d = select(lanes_of(columns, v), d, zero);
        squares = fma(d, d, squares);
        store(step.values + place + 16 * v, d);
      }
    }
    return 1.0f / std::sqrt(sum(squares) / static_cast<float>(run_.neurons) + run_.epsilon);
  }

  const RecurrentRun& run_;
  const Tiles tiles_;
  const Dropout dropout_;
  Buffer<float> bias_, state_;
  const Panels weight_;
  std::optional<Panels> first_;
};

// h = g d r of one row, to a plain row.
inline void write_state(const RecurrentRun& run, const Tiles& tiles, const float* row, float scale, float* plain) {
  gather_row(tiles, row, plain);
  for (std::int64_t n = 0; n < run.neurons; ++n) plain[n] = plain[n] * scale * run.gain[n];
}

// Where the forward pass puts its steps: in the slots that are kept, or in two that take turns.
class Places {
 public:
  Places(const RecurrentRun& run, const Tiles& tiles, const RecurrentKept* kept) : run_(run), tiles_(tiles), kept_(kept) {
    every_ = kept != nullptr && run.segment == 0;
    sums_ = every_ && needs_sums(run.activation);
    if (!every_ || sums_) turns_ = Buffer<float>(2 * tiles.slot);
    if (kept == nullptr) scales_ = Buffer<float>(2 * run.batch);
  }

  static bool needs_sums(Activation f) { return f == Activation::kGelu || f == Activation::kSilu; }

  Step at(std::int64_t t) const {
    Step step{};
    step.time = t;
    step.values = values(t);
    step.scales = scales(t);
    if (t > 0) {
      step.previous = values(t - 1);
      step.previous_scales = scales(t - 1);
    }
    if (sums_) step.sums = kept_->values + t * tiles_.slot;
    if (every_ && kept_->masks != nullptr) step.masks = kept_->masks + t * tiles_.count * tiles_.rows;
    return step;
  }

  // With segments, rows of the last step of each but the last are kept.
  void keep(const Step& step, std::int64_t first, std::int64_t last) const {
    const std::int64_t next = step.time + 1;
    if (kept_ == nullptr || run_.segment == 0 || next % run_.segment != 0 || next >= run_.steps) return;
    float* slot = kept_->values + (next / run_.segment - 1) * tiles_.slot;
    for (std::int64_t i = 0; i < tiles_.count; ++i) {
      const std::int64_t place = i * tiles_.step() + first * tiles_.width;
      std::copy_n(step.values + place, (last - first) * tiles_.width, slot + place);
    }
  }

 private:
  float* values(std::int64_t t) const { return every_ && !sums_ ? kept_->values + t * tiles_.slot : turns_.get() + t % 2 * tiles_.slot; }
  float* scales(std::int64_t t) const { return kept_ != nullptr ? kept_->scales + t * run_.batch : scales_.get() + t % 2 * run_.batch; }

  const RecurrentRun& run_;
  const Tiles& tiles_;
  const RecurrentKept* kept_;
  bool every_, sums_;
  Buffer<float> turns_, scales_;
};

inline void forward(const RecurrentRun& run, float* final, float* states, const RecurrentKept* kept) {
  const Tiles tiles(run);
  const Forward advance(run);
  const Places places(run, tiles, kept);
  const std::int64_t collected = run.collect > 0 ? run.steps / run.collect : 0;
  parallel(run.threads, tiles.blocks(), [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t first = tiles.first_row(begin), last = tiles.first_row(end);
    for (std::int64_t t = 0; t < run.steps; ++t) {
      const Step step = places.at(t);
      advance(step, first, last);
      places.keep(step, first, last);
      const std::int64_t count = collected > 0 && (t + 1) % run.collect == 0 ? (t + 1) / run.collect : 0;
      for (std::int64_t b = first; b < last; ++b) {
        const float* row = step.values + b * tiles.width;
        if (count > 0) write_state(run, tiles, row, step.scales[b], states + (b * collected + count - 1) * run.neurons);
        if (t + 1 == run.steps) write_state(run, tiles, row, step.scales[b], final + b * run.neurons);
      }
    }
  });
}

}  // namespace quintet::QUINTET_NAMESPACE
