// The backward pass of spiking neurons, in chunks of steps from the last to the first. A prime marks the step after, G(y) dL/dy:
//
//   G(x) = kappa G(x'),   G(z) = outside + G(x) + (1 - rho) G(a') + G(v') W^T,   G(u) = G(z) height / (1 + (pi u)^2) where it could fire
//   G(v) = alpha G(v') [(1 - z) if the reset is to zero] + G(u),   G(a) = rho G(a') - beta G(u),   G(J) = G(v),   G(W) = sum of z^T G(v')
#pragma once

#include "spiking_forward.hpp"

namespace quintet::QUINTET_NAMESPACE {

class SpikingBackward {
 public:
  SpikingBackward(const SpikingRun& run, const SpikingKept& kept, const SpikingGradients& to)
      : run_(run), kept_(kept), to_(to), far_(run.batch * run.steps * run.neurons > kFar && on_line(to.drive)), layout_(run),
        chunk_(std::clamp<std::int64_t>(kRowsAtOnce / std::max<std::int64_t>(run.batch, 1), 1, run.steps)),
        backward_(wiring(run, true)), forward_(wiring(run, false)), turned_(run.blocks * run.block * run.block), begin_(layout_.words()),
        carried_(3 * layout_.slot()), errors_((chunk_ + 1) * layout_.slot()), sums_(3 * layout_.panels() * layout_.columns) {
    std::fill_n(sums_.get(), 3 * layout_.panels() * layout_.columns, 0.0f);
    std::fill_n(carried_.get(), 3 * layout_.slot(), 0.0f);
    std::fill_n(errors(run.steps), layout_.slot(), 0.0f);
    bits_of(layout_, run.state + 2 * run.batch * run.neurons, begin_.get());
    turn();
    if (to.last == nullptr) return;
    each_end([&](std::int64_t place, std::int64_t, const float* end) { carried(kSpike)[place] = end[2 * size()] + end[3 * size()]; },
             0, layout_.rows);
  }

  void operator()() {
    for (std::int64_t to = run_.steps; to > 0;) {
      const std::int64_t from = (to - 1) / chunk_ * chunk_;
      parallel(run_.threads, layout_.panels(), [&](std::int64_t begin, std::int64_t end) { panels(from, to, begin, end); });
      parallel(run_.threads, run_.blocks, [&](std::int64_t begin, std::int64_t end) { weight_gradients(from, to, begin, end); });
      to = from;
    }
    finish();
  }

 private:
  static constexpr std::int64_t kRowsAtOnce = 512;  // streams x steps of a chunk
  static constexpr std::int64_t kLines = 24;        // of the next block of W that each panel asks for
  enum Carried { kAdaptation, kSpike, kTrace };  // G(a'), G(v') W^T, G(x')

  float* carried(Carried part) const { return carried_.get() + part * layout_.slot(); }
  // G(v) of step t, while its chunk or the one before is at work.
  float* errors(std::int64_t t) const { return errors_.get() + t % (chunk_ + 1) * layout_.slot(); }
  float* sums(std::int64_t which, std::int64_t panel) const {
    return sums_.get() + (which * layout_.panels() + panel) * layout_.columns;
  }
  static void add(float* sum, F16 x) { store(sum, load(sum) + x); }
  // Words of the spikes before step t.
  const std::uint64_t* spikes_before(std::int64_t t) const { return t == 0 ? begin_.get() : kept_.spikes + (t - 1) * layout_.words(); }

  // The blocks of W, transposed, in the order of their use.
  void turn() const {
    const std::int64_t width = layout_.width;
    float* to = turned_.get();
    for (const Synapses& synapses : backward_) {
      const float* block = run_.weight + synapses.block * width * width;
      for (std::int64_t j = 0; j < width; ++j) {
        for (std::int64_t i = 0; i < width; ++i) *to++ = block[i * width + j];
      }
    }
  }

  void panels(std::int64_t from, std::int64_t to, std::int64_t first, std::int64_t last) const {
    for (std::int64_t t = to - 1; t >= from; --t) {
      for (std::int64_t panel = first; panel < last; ++panel) step(t, panel);
      if (to_.last != nullptr && t + 1 == run_.steps) add_end(layout_.first_row(first), layout_.first_row(last));
      multiply(errors(t), carried(kSpike), first, last);
    }
    fence();
  }

  // to = from W^T.
  void multiply(const float* from, float* to, std::int64_t first, std::int64_t last) const {
    const std::int64_t width = layout_.width;
    const float* block = turned_.get();
    for (const Synapses& synapses : backward_) {
      for (std::int64_t panel = first; panel < last; ++panel) {
        const std::int64_t b = layout_.first_row(panel), ahead = (panel - first) * kLines * 16;
        if (ahead < width * width) prefetch(block + width * width + ahead, kLines);
        product({from + layout_.at(b, synapses.from), width, 0, 1}, {block, 0, width}, 1, width, layout_.first_row(panel + 1) - b,
                layout_.vectors(), to + layout_.at(b, synapses.to), width, !synapses.first);
      }
      block += width * width;
    }
  }

  // What one step of a panel reads and writes, out of the reach of its stores; "after" is of the step after.
  struct Step {
    SpikingRun run;
    SpikingGradients to;
    const float *distances, *adaptations, *after, *spike_after;
    float *now, *adaptation_after, *trace_after, *alphas, *thetas, *betas;
    bool far;
  };

  // A panel's numbers lie one after the other, from `place`.
  void step(std::int64_t t, std::int64_t panel) const {
    const Step step{run_, to_, kept_.distances + t * layout_.slot(), kept_.adaptations + t * layout_.slot(), errors(t + 1),
                    carried(kSpike), errors(t), carried(kAdaptation), carried(kTrace), sums(0, panel), sums(1, panel), sums(2, panel),
                    far_};
    std::int64_t place = layout_.first_row(panel) * layout_.columns;
    for (std::int64_t i = 0; i < layout_.count; ++i) {
      for (std::int64_t b = layout_.first_row(panel); b < layout_.first_row(panel + 1); ++b) {
        const std::int64_t word = t * layout_.words() + i * layout_.rows + b, outside = (b * run_.steps + t) * layout_.columns;
        const std::uint64_t fired = kept_.spikes[word], ready = kept_.ready[word];
        for (std::int64_t k = 0; k < layout_.width; k += 16, place += 16) {
          const std::int64_t column = i * layout_.width + k;
          neurons(step, place, column, outside + column, static_cast<Lanes>(fired >> k), static_cast<Lanes>(ready >> k));
        }
      }
    }
  }

  std::int64_t size() const { return layout_.slot(); }

  // Of each neuron: its place in panels, that in `drive` at the last step, and the gradient of the last state from its voltage on.
  template <class Body>
  void each_end(Body body, std::int64_t first, std::int64_t last) const {
    for (std::int64_t b = first; b < last; ++b) {
      for (std::int64_t i = 0; i < layout_.columns; ++i) {
        const std::int64_t place = layout_.at(b, i / layout_.width) + i % layout_.width;
        body(place, ((b + 1) * run_.steps - 1) * layout_.columns + i, to_.last + b * layout_.columns + i);
      }
    }
  }

  // The rest of the gradient of the last state: that of its spikes and traces has been in G(z) from the start.
  void add_end(std::int64_t first, std::int64_t last) const {
    each_end(
        [&](std::int64_t place, std::int64_t outside, const float* end) {
          errors(run_.steps - 1)[place] += end[0];
          to_.drive[outside] += end[0];
          carried(kAdaptation)[place] += end[size()];
          carried(kSpike)[place] = 0.0f;
          carried(kTrace)[place] += end[3 * size()];
        },
        first, last);
  }

  static void neurons(const Step& at, std::int64_t place, std::int64_t column, std::int64_t outside, Lanes fired, Lanes ready) {
    const F16 zero(0.0f), one(1.0f), rho(at.run.rho), rest(1.0f - at.run.rho), pi(3.14159265f);
    const F16 theta = load(at.run.theta + column), beta = load(at.run.beta + column);
    const F16 u = load(at.distances + place), a = load(at.adaptations + place);
    const F16 after = load(at.after + place), adaptation_after = load(at.adaptation_after + place);
    __builtin_prefetch(at.distances + place + kAhead);
    __builtin_prefetch(at.adaptations + place + kAhead);
    add(at.alphas + column, after * select(fired, at.run.to_zero ? zero : u, u + fma(beta, a, theta)));
    F16 spike = fma(rest, adaptation_after, load(at.spike_after + place));
    if (at.to.last != nullptr) {
      const F16 trace = F16(at.run.kappa) * load(at.trace_after + place);
      store(at.trace_after + place, trace);
      spike = spike + trace;
    }
    if (at.to.spikes != nullptr) {
      __builtin_prefetch(at.to.spikes + outside + kAhead);
      spike = spike + load(at.to.spikes + outside);
    }
    const F16 angle = pi * u;
    const F16 distance = select(ready, spike * (F16(at.run.height) / fma(angle, angle, one)), zero);
    const F16 voltage = load(at.run.alpha + column) * (at.run.to_zero ? select(fired, zero, after) : after) + distance;
    add(at.thetas + column, distance);
    add(at.betas + column, distance * a);
    put(at.far, at.to.drive + outside, voltage);
    store(at.now + place, voltage);
    store(at.adaptation_after + place, rho * adaptation_after - beta * distance);
  }

  void weight_gradients(std::int64_t from, std::int64_t to, std::int64_t begin, std::int64_t end) const {
    const std::int64_t size = layout_.width * layout_.width;
    for (std::int64_t k = begin; k < end; ++k) {
      const Synapses& synapses = forward_[static_cast<std::size_t>(k)];
      float* block = to_.weight + synapses.block * size;
      if (to == run_.steps) std::fill_n(block, size, 0.0f);
      for (std::int64_t t = from; t < to; ++t) {
        const std::uint64_t* spikes = spikes_before(t) + synapses.from * layout_.rows;
        switch (layout_.vectors()) {
          case 1: add_to_rows<1>(spikes, errors(t), synapses.to, block); break;
          case 2: add_to_rows<2>(spikes, errors(t), synapses.to, block); break;
          default: add_to_rows<4>(spikes, errors(t), synapses.to, block);
        }
      }
    }
  }

  // block += z^T right: each stream's row is added to those of the neurons that fired.
  template <int vectors>
  void add_to_rows(const std::uint64_t* spikes, const float* errors, std::int64_t tile, float* block) const {
    for (std::int64_t b = 0; b < layout_.rows; ++b) {
      const float* right = errors + layout_.at(b, tile);
      F16 row[vectors];
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) row[v] = load(right + 16 * v);
      for (std::uint64_t bits = spikes[b]; bits != 0; bits &= bits - 1) {
        float* to = block + __builtin_ctzll(bits) * 16 * vectors;
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) add(to + 16 * v, row[v]);
      }
    }
  }

  void finish() const {
    const std::int64_t n = layout_.columns, size = layout_.rows * n;
    const float *v = run_.state, *a = v + size, *z = a + size;
    float* to = to_.state;
    for (std::int64_t b = 0; b < layout_.rows; ++b) {
      for (std::int64_t i = 0, p = b * n; i < n; ++i, ++p) {
        const std::int64_t place = layout_.at(b, i / layout_.width) + i % layout_.width;
        const float voltage = errors(0)[place], adaptation = carried(kAdaptation)[place];
        const bool fired = z[p] > 0.0f;
        const float kept = run_.to_zero && fired ? 0.0f : 1.0f;
        const float threshold = run_.theta[i] + run_.beta[i] * a[p];
        sums(0, b / kPanelRows)[i] += voltage * (run_.to_zero ? v[p] * kept : v[p] - (fired ? threshold : 0.0f));
        to[p] = run_.alpha[i] * voltage * kept;
        to[size + p] = run_.rho * adaptation;
        to[2 * size + p] = (1.0f - run_.rho) * adaptation + carried(kSpike)[place];
        to[3 * size + p] = run_.kappa * carried(kTrace)[place];
        to[4 * size + p] = 0.0f;
      }
    }
    for (std::int64_t i = 0; i < n; ++i) {
      float sum[3] = {};
      for (std::int64_t which = 0; which < 3; ++which) {
        for (std::int64_t group = 0; group < layout_.panels(); ++group)
          sum[which] += sums_.get()[(which * layout_.panels() + group) * n + i];
      }
      to_.alpha[i] = sum[0];
      to_.theta[i] = -sum[1];
      to_.beta[i] = -sum[2];
    }
  }

  const SpikingRun& run_;
  const SpikingKept& kept_;
  const SpikingGradients& to_;
  const bool far_;
  const SpikingLayout layout_;
  const std::int64_t chunk_;
  const std::vector<Synapses> backward_, forward_;
  const Buffer<float> turned_;
  const Buffer<std::uint64_t> begin_;
  const Buffer<float> carried_, errors_, sums_;
};

}  // namespace quintet::QUINTET_NAMESPACE
