// The backward pass of a run, in chunks of steps from the last to the first. With v_t = r_t times the gradient of g h_{t+1} / g (what comes
// back through diag(g) W, and from outside), n neurons, and d, r of recurrent.hpp:
//
//   dL/dd_t = v_t - d_t r_t^2 (v_t . d_t) / n,   e_t = dL/ds_t = dL/dd_t * mask * slope,   v_{t-1} = (r_{t-1} e_t) (diag(g) W)^T
//
// The weight's gradient is diag(g) M with M = sum over t of d_{t-1}^T (r_{t-1} e_t): one product a chunk over all its steps and rows. Its
// rows' products with those of W are what the gain gets through the recurrence.
#pragma once

#include "recurrent_forward.hpp"

namespace quintet::QUINTET_NAMESPACE {

class Backward {
 public:
  Backward(const RecurrentRun& run, const RecurrentKept& kept, const RecurrentGradients& gradients)
      : run_(run), kept_(kept), to_(gradients), tiles_(run), dropout_(run.dropout),
        collected_(run.collect > 0 ? run.steps / run.collect : 0),
        chunk_(run.segment > 0 ? std::min(run.segment, run.steps)
                               : std::clamp<std::int64_t>(kRowsAtOnce / std::max<std::int64_t>(run.batch, 1), 1, run.steps)),
        transposed_(tiles_, run.weight, run.gain, true, run.threads), carried_(tiles_.slot), errors_(chunk_ * tiles_.slot),
        sums_of_bias_(tiles_.blocks() * tiles_.padded()), sums_of_gain_(tiles_.blocks() * tiles_.padded()) {
    std::fill_n(carried_.get(), tiles_.slot, 0.0f);
    std::fill_n(sums_of_bias_.get(), tiles_.blocks() * tiles_.padded(), 0.0f);
    std::fill_n(sums_of_gain_.get(), tiles_.blocks() * tiles_.padded(), 0.0f);
    stride_ = (run.neurons + 15) / 16 * 16;
    if (stride_ != run.neurons) padded_weight_ = Buffer<float>(run.neurons * stride_);
    const bool rebuilds = Places::needs_sums(run.activation) || run.segment > 0;
    if (rebuilds) values_ = Buffer<float>((chunk_ + 1) * tiles_.slot);
    if (run.segment > 0) {
      forward_.emplace(run);
      if (Places::needs_sums(run.activation)) sums_ = Buffer<float>(chunk_ * tiles_.slot);
      if (dropout_.active()) masks_ = Buffer<std::uint64_t>(chunk_ * tiles_.count * tiles_.rows);
    }
    if (run.state != nullptr) whole_.emplace(tiles_, run.weight, nullptr, true, run.threads);
  }

  void operator()() {
    std::fill_n(to_.drive, run_.batch * run_.frames * run_.inputs, 0.0f);
    bool fresh = true;
    for (std::int64_t to = run_.steps; to > 0;) {
      const std::int64_t from = (to - 1) / chunk_ * chunk_;
      over_rows([&](std::int64_t first, std::int64_t last) { restore(from, to, first, last); });
      over_rows([&](std::int64_t first, std::int64_t last) { errors(from, to, first, last); });
      fresh = !weight_gradient(from, to, fresh) && fresh;
      to = from;
    }
    if (fresh) std::fill_n(weight(), run_.neurons * stride_, 0.0f);
    finish();
  }

 private:
  static constexpr std::int64_t kRowsAtOnce = 512;

  template <class Body>
  void over_rows(Body body) const {
    parallel(run_.threads, tiles_.blocks(),
             [&](std::int64_t begin, std::int64_t end) { body(tiles_.first_row(begin), tiles_.first_row(end)); });
  }

  float* weight() const { return padded_weight_.get() != nullptr ? padded_weight_.get() : to_.weight; }

  // d of step t of the chunk that begins at `from`; t may be from - 1.
  const float* values(std::int64_t t, std::int64_t from) const {
    return values_.get() == nullptr ? kept_.values + t * tiles_.slot : values_.get() + (t - from + 1) * tiles_.slot;
  }
  // What tells the slope: s if it was kept, else d.
  const float* arguments(std::int64_t t, std::int64_t from) const {
    if (!Places::needs_sums(run_.activation)) return values(t, from);
    return run_.segment > 0 ? sums_.get() + (t - from) * tiles_.slot : kept_.values + t * tiles_.slot;
  }
  const std::uint64_t* masks(std::int64_t t, std::int64_t from) const {
    if (!dropout_.active()) return nullptr;
    const std::int64_t size = tiles_.count * tiles_.rows;
    return run_.segment > 0 ? masks_.get() + (t - from) * size : kept_.masks + t * size;
  }
  float* errors_at(std::int64_t t, std::int64_t from) const { return errors_.get() + (t - from) * tiles_.slot; }

  void restore(std::int64_t from, std::int64_t to, std::int64_t first, std::int64_t last) const;
  void run_again(std::int64_t from, std::int64_t to, std::int64_t first, std::int64_t last) const;
  template <Activation f>
  void values_of_sums(std::int64_t t, std::int64_t from, std::int64_t first, std::int64_t last) const;

  void errors(std::int64_t from, std::int64_t to, std::int64_t first, std::int64_t last) const;
  void receive(std::int64_t t, std::int64_t from, std::int64_t b, float* sums_of_gain) const;
  template <Activation f>
  void error_row(std::int64_t t, std::int64_t from, std::int64_t b, float* sums_of_bias, float* raw) const;

  bool weight_gradient(std::int64_t from, std::int64_t to, bool fresh) const;
  void add_products(Left left, Right right, std::int64_t steps, bool accumulate) const;
  void finish() const;
  void apply_gain(std::int64_t begin, std::int64_t end) const;
  void add_first_step() const;

  const RecurrentRun& run_;
  const RecurrentKept& kept_;
  const RecurrentGradients& to_;
  const Tiles tiles_;
  const Dropout dropout_;
  const std::int64_t collected_, chunk_;
  std::int64_t stride_;
  const Panels transposed_;
  const Buffer<float> carried_, errors_, sums_of_bias_, sums_of_gain_;
  Buffer<float> padded_weight_, values_, sums_;
  Buffer<std::uint64_t> masks_;
  std::optional<Forward> forward_;
  std::optional<Panels> whole_;
};

// The chunk's d, where it was not kept: from s, or by running its steps again.
inline void Backward::restore(std::int64_t from, std::int64_t to, std::int64_t first, std::int64_t last) const {
  if (run_.segment > 0) return run_again(from, to, first, last);
  for (std::int64_t t = std::max<std::int64_t>(from - 1, 0); t < to; ++t) {
    if (Places::needs_sums(run_.activation)) with_activation(run_.activation, [&](auto f) { values_of_sums<f>(t, from, first, last); });
  }
}

inline void Backward::run_again(std::int64_t from, std::int64_t to, std::int64_t first, std::int64_t last) const {
  if (from > 0) {
    const float* slot = kept_.values + (from / run_.segment - 1) * tiles_.slot;
    for (std::int64_t i = 0; i < tiles_.count; ++i) {
      const std::int64_t place = i * tiles_.step() + first * tiles_.width;
      std::copy_n(slot + place, (last - first) * tiles_.width, values_.get() + place);
    }
  }
  for (std::int64_t t = from; t < to; ++t) {
    Step step{};
    step.time = t;
    step.values = values_.get() + (t - from + 1) * tiles_.slot;
    step.scales = kept_.scales + t * run_.batch;
    if (t > 0) {
      step.previous = values_.get() + (t - from) * tiles_.slot;
      step.previous_scales = kept_.scales + (t - 1) * run_.batch;
    }
    if (sums_.get() != nullptr) step.sums = sums_.get() + (t - from) * tiles_.slot;
    if (masks_.get() != nullptr) step.masks = masks_.get() + (t - from) * tiles_.count * tiles_.rows;
    (*forward_)(step, first, last);
  }
}

template <Activation f>
void Backward::values_of_sums(std::int64_t t, std::int64_t from, std::int64_t first, std::int64_t last) const {
  const float* source = arguments(t, from);
  float* target = values_.get() + (t - from + 1) * tiles_.slot;
  const std::uint64_t* kept = masks(t, from);
  for (std::int64_t i = 0; i < tiles_.count; ++i) {
    for (std::int64_t b = first; b < last; ++b) {
      const std::int64_t place = i * tiles_.step() + b * tiles_.width, columns = tiles_.columns_in(i);
      for (std::int64_t v = 0; v < tiles_.vectors_in(i); ++v) {
        F16 d = value<f>(load(source + place + 16 * v));
        if (kept != nullptr) d = select(static_cast<Lanes>(kept[i * tiles_.rows + b] >> 16 * v), d * F16(dropout_.scale), F16(0.0f));
        if (columns < 16 * (v + 1)) d = select(lanes_of(columns, v), d, F16(0.0f));
        store(target + place + 16 * v, d);
      }
    }
  }
}

// Errors of the steps [from, to), the last first, and what they carry to the step before; on rows [first, last), a block at a time.
inline void Backward::errors(std::int64_t from, std::int64_t to, std::int64_t first, std::int64_t last) const {
  const Buffer<float> raw(tiles_.padded());
  for (std::int64_t t = to - 1; t >= from; --t) {
    const std::int64_t frame = frame_at(run_, t);
    for (std::int64_t b = first; b < last; ++b) {
      const std::int64_t sums = tiles_.block_of(b) * tiles_.padded();
      receive(t, from, b, sums_of_gain_.get() + sums);
      float* sums_of_bias = sums_of_bias_.get() + sums;
      with_activation(run_.activation, [&](auto f) { error_row<f>(t, from, b, sums_of_bias, frame >= 0 ? raw.get() : nullptr); });
      if (frame < 0) continue;
      float* drive = to_.drive + (b * run_.frames + frame) * run_.inputs;
      for (std::int64_t i = 0; i < run_.inputs; ++i) drive[i] += raw.get()[run_.places == nullptr ? i : run_.places[i]];
    }
    if (t > 0) transposed_.multiply(errors_at(t, from), carried_.get(), first, last);
  }
  if (from > 0 || run_.state == nullptr) return;
  whole_->multiply(errors_at(0, from), carried_.get(), first, last);
  for (std::int64_t b = first; b < last; ++b) gather_row(tiles_, carried_.get() + b * tiles_.width, to_.state + b * run_.neurons);
}

// Adds the gradients that come from outside to what a row carries: v += r g G, and G d r to the gain's.
inline void Backward::receive(std::int64_t t, std::int64_t from, std::int64_t b, float* sums_of_gain) const {
  const auto add = [&](const float* gradient) {
    const float r = kept_.scales[t * run_.batch + b];
    const float* d = values(t, from) + b * tiles_.width;
    float* v = carried_.get() + b * tiles_.width;
    each_tile(tiles_, [&](std::int64_t offset, std::int64_t column, std::int64_t count) {
      for (std::int64_t n = 0; n < count; ++n) {
        const float scaled = gradient[column + n] * r;
        v[offset + n] = v[offset + n] + scaled * run_.gain[column + n];
        sums_of_gain[column + n] = sums_of_gain[column + n] + scaled * d[offset + n];
      }
    });
  };
  if (to_.final != nullptr && t + 1 == run_.steps) add(to_.final + b * run_.neurons);
  if (to_.states == nullptr || collected_ == 0 || (t + 1) % run_.collect != 0) return;
  add(to_.states + (b * collected_ + (t + 1) / run_.collect - 1) * run_.neurons);
}

template <Activation f>
void Backward::error_row(std::int64_t t, std::int64_t from, std::int64_t b, float* sums_of_bias, float* raw) const {
  const float* d = values(t, from) + b * tiles_.width;
  const float* y = arguments(t, from) + b * tiles_.width;
  const float* v = carried_.get() + b * tiles_.width;
  float* e = errors_at(t, from) + b * tiles_.width;
  const std::uint64_t* kept = masks(t, from);
  F16 products(0.0f);
  for (std::int64_t i = 0; i < tiles_.count; ++i) {
    for (std::int64_t k = 0; k < tiles_.vectors_in(i); ++k) {
      const std::int64_t place = i * tiles_.step() + 16 * k;
      products = fma(load(v + place), load(d + place), products);
    }
  }
  const float r = kept_.scales[t * run_.batch + b];
  const F16 along(-(r * r * sum(products) / static_cast<float>(run_.neurons)));
  const F16 before(t > 0 ? kept_.scales[(t - 1) * run_.batch + b] : 1.0f), keep(dropout_.scale), unkeep(1.0f / dropout_.scale);
  for (std::int64_t i = 0; i < tiles_.count; ++i) {
    for (std::int64_t k = 0; k < tiles_.vectors_in(i); ++k) {
      const std::int64_t place = i * tiles_.step() + 16 * k, column = i * tiles_.width + 16 * k;
      F16 error = fma(along, load(d + place), load(v + place));
      if (kept == nullptr) {
        error = error * slope<f>(load(y + place));
      } else {
        const F16 argument = slope_from_value(f) ? load(y + place) * unkeep : load(y + place);
        error = select(static_cast<Lanes>(kept[i * tiles_.rows + b] >> 16 * k), error * keep * slope<f>(argument), F16(0.0f));
      }
      store(sums_of_bias + column, load(sums_of_bias + column) + error);
      if (raw != nullptr) store(raw + column, error);
      store(e + place, error * before);
    }
  }
}

// M (+)= sum over the chunk's steps of d_{t-1}^T (r_{t-1} e_t). Returns whether there was anything to add.
inline bool Backward::weight_gradient(std::int64_t from, std::int64_t to, bool fresh) const {
  const std::int64_t start = std::max<std::int64_t>(from, 1);
  if (start >= to || run_.batch == 0) return false;
  const Left left{values(start - 1, from), 1, tiles_.slot, tiles_.width};
  add_products(left, {errors_at(start, from), tiles_.slot, tiles_.width}, to - start, !fresh);
  return true;
}

// M (+)= left right over `steps` steps and all rows, a pair of tiles at a time.
inline void Backward::add_products(Left left, Right right, std::int64_t steps, bool accumulate) const {
  parallel(run_.threads, tiles_.count * tiles_.count, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t item = begin; item < end; ++item) {
      const std::int64_t i = item / tiles_.count, k = item % tiles_.count;
      const Left rows{left.data + k * tiles_.step(), left.row_step, left.outer_step, left.inner_step};
      const Right columns{right.data + i * tiles_.step(), right.outer_step, right.inner_step};
      float* target = weight() + k * tiles_.width * stride_ + i * tiles_.width;
      product(rows, columns, steps, run_.batch, tiles_.columns_in(k), tiles_.vectors_in(i), target, stride_, accumulate);
    }
  });
}

// The gradients of weight, bias and gain from M, from the step that took the state, and from the blocks' sums.
inline void Backward::finish() const {
  const std::int64_t n = run_.neurons;
  for (std::int64_t k = 0; k < n; ++k) {
    float bias = 0.0f, gain = 0.0f;
    for (std::int64_t block = 0; block < tiles_.blocks(); ++block) {
      bias += sums_of_bias_.get()[block * tiles_.padded() + k];
      gain += sums_of_gain_.get()[block * tiles_.padded() + k];
    }
    to_.bias[k] = bias;
    to_.gain[k] = gain;
  }
  parallel(run_.threads, n, [&](std::int64_t begin, std::int64_t end) { apply_gain(begin, end); });
  if (run_.state != nullptr && run_.batch > 0) add_first_step();
  if (weight() == to_.weight) return;
  for (std::int64_t k = 0; k < n; ++k) std::copy_n(weight() + k * stride_, n, to_.weight + k * n);
}

// Rows [begin, end) of diag(g) M, and what the gain gets of M.
inline void Backward::apply_gain(std::int64_t begin, std::int64_t end) const {
  const std::int64_t n = run_.neurons;
  const Buffer<float> padded(stride_);
  std::fill_n(padded.get(), stride_, 0.0f);
  for (std::int64_t k = begin; k < end; ++k) {
    float* row = weight() + k * stride_;
    std::copy_n(run_.weight + k * n, n, padded.get());
    F16 products(0.0f);
    for (std::int64_t j = 0; j < stride_; j += 16) {
      const F16 m = load(row + j);
      products = fma(m, load(padded.get() + j), products);
      store(row + j, m * F16(run_.gain[k]));
    }
    to_.gain[k] += sum(products);
  }
}

// The state from outside times the errors of the first step.
inline void Backward::add_first_step() const {
  const Buffer<float> state(tiles_.slot);
  for (std::int64_t b = 0; b < run_.batch; ++b) spread_row(tiles_, run_.state + b * run_.neurons, state.get() + b * tiles_.width);
  add_products({state.get(), 1, 0, tiles_.width}, {errors_.get(), 0, tiles_.width}, 1, true);
}

}  // namespace quintet::QUINTET_NAMESPACE
