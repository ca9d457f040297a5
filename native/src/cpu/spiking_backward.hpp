// The backward pass of spiking neurons, in chunks of steps from the last to the first. A prime marks the step after, G(y) dL/dy:
//
//   G(x) = kappa G(x'),   G(z) = outside + G(x) + (1 - rho) G(a') + G(v') W^T,   G(u) = G(z) height / (1 + (pi u)^2) where it could fire
//   G(v) = alpha G(v') [(1 - z) if the reset is to zero] + G(u),   G(a) = rho G(a') - beta G(u),   G(J) = G(v),   G(W) = sum of z_before^T
//   G(v)
#pragma once

#include "spiking_forward.hpp"

namespace quintet::QUINTET_NAMESPACE {

class SpikingBackward {
 public:
  SpikingBackward(const SpikingRun& run, const SpikingKept& kept, const SpikingGradients& to)
      : run_(run), kept_(kept), to_(to), tiles_(run),
        chunk_(std::clamp<std::int64_t>(kRowsAtOnce / std::max<std::int64_t>(run.batch, 1), 1, run.steps)), wiring_(run, tiles_, true),
        begin_(3 * tiles_.slot), carried_(4 * tiles_.slot), errors_(chunk_ * tiles_.slot), fired_(chunk_ * tiles_.slot),
        sums_(3 * tiles_.groups() * tiles_.columns) {
    std::fill_n(sums_.get(), 3 * tiles_.groups() * tiles_.columns, 0.0f);
    std::fill_n(carried_.get(), 4 * tiles_.slot, 0.0f);
    for (std::int64_t part = 0; part < 3; ++part) to_tiles(tiles_, run.state + part * tiles_.slot, begin_.get() + part * tiles_.slot);
    if (to.last == nullptr) return;
    end_ = Buffer<float>(4 * tiles_.slot);
    for (std::int64_t part = 0; part < 4; ++part) to_tiles(tiles_, to.last + part * tiles_.slot, end_.get() + part * tiles_.slot);
  }

  void operator()() {
    bool fresh = true;
    for (std::int64_t to = run_.steps; to > 0; fresh = false) {
      const std::int64_t from = (to - 1) / chunk_ * chunk_;
      parallel(run_.threads, tiles_.groups(),
               [&](std::int64_t begin, std::int64_t end) { rows(from, to, tiles_.first_row(begin), tiles_.first_row(end)); });
      parallel(run_.threads, run_.blocks, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t k = begin; k < end; ++k) weight_gradient(k, to - from, fresh);
      });
      to = from;
    }
    finish();
  }

 private:
  static constexpr std::int64_t kRowsAtOnce = 512;
  enum Carried { kVoltage, kAdaptation, kSpike, kTrace };  // G(v'), G(a'), G(v') W^T, G(x')

  float* carried(Carried part) const { return carried_.get() + part * tiles_.slot; }
  float* sums(std::int64_t which, std::int64_t row) const {
    return sums_.get() + (which * tiles_.groups() + row / kPanelRows) * tiles_.columns;
  }
  Lanes lanes(const std::uint64_t* bits, std::int64_t t, std::int64_t i, std::int64_t b, std::int64_t k) const {
    return static_cast<Lanes>(bits[(t * tiles_.count + i) * tiles_.rows + b] >> 16 * k);
  }

  void rows(std::int64_t from, std::int64_t to, std::int64_t first, std::int64_t last) const {
    for (std::int64_t t = to - 1; t >= from; --t) {
      for (std::int64_t i = 0; i < tiles_.count; ++i) {
        for (std::int64_t b = first; b < last; ++b) {
          for (std::int64_t k = 0; k < tiles_.vectors(); ++k) step(t, t - from, i, b, k);
        }
      }
      wiring_.multiply(errors_.get() + (t - from) * tiles_.slot, carried(kSpike), first, last);
    }
  }

  // v, a, z of the step before t.
  struct Before {
    F16 v, a, z;
  };
  Before before(std::int64_t t, std::int64_t i, std::int64_t b, std::int64_t k, F16 theta, F16 beta) const {
    const std::int64_t place = tiles_.at(i, b) + 16 * k;
    if (t == 0) return {load(begin_.get() + place), load(begin_.get() + tiles_.slot + place), load(begin_.get() + 2 * tiles_.slot + place)};
    const F16 a = load(kept_.adaptations + (t - 1) * tiles_.slot + place);
    const F16 u = load(kept_.distances + (t - 1) * tiles_.slot + place);
    return {u + fma(beta, a, theta), a, select(lanes(kept_.spikes, t - 1, i, b, k), F16(1.0f), F16(0.0f))};
  }

  // One vector of neurons at one step.
  void step(std::int64_t t, std::int64_t in_chunk, std::int64_t i, std::int64_t b, std::int64_t k) const {
    const F16 zero(0.0f), one(1.0f), rho(run_.rho), rest(1.0f - run_.rho), pi(3.14159265f);
    const std::int64_t place = tiles_.at(i, b) + 16 * k, column = i * tiles_.width + 16 * k, kept = t * tiles_.slot + place;
    const std::int64_t outside = (b * run_.steps + t) * tiles_.columns + column;
    const F16 theta = load(run_.theta + column), beta = load(run_.beta + column), alpha = load(run_.alpha + column);
    const Before was = before(t, i, b, k, theta, beta);

    F16 back = load(carried(kVoltage) + place);
    if (run_.to_zero) back = select(lanes(kept_.spikes, t, i, b, k), zero, back);
    const F16 later = load(carried(kAdaptation) + place);
    F16 trace = F16(run_.kappa) * load(carried(kTrace) + place), spike = fma(rest, later, load(carried(kSpike) + place));
    F16 voltage = alpha * back, adaptation = rho * later;
    if (t + 1 == run_.steps && end_.get() != nullptr) {
      voltage = voltage + load(end_.get() + place);
      adaptation = adaptation + load(end_.get() + tiles_.slot + place);
      spike = spike + load(end_.get() + 2 * tiles_.slot + place);
      trace = trace + load(end_.get() + 3 * tiles_.slot + place);
    }
    if (to_.spikes != nullptr) spike = spike + load(to_.spikes + outside);
    const F16 angle = pi * load(kept_.distances + kept);
    const F16 slope = F16(run_.height) / fma(angle, angle, one);
    const F16 distance = select(lanes(kept_.ready, t, i, b, k), (spike + trace) * slope, zero);
    voltage = voltage + distance;
    adaptation = adaptation - beta * distance;

    const F16 remains = run_.to_zero ? was.v * (one - was.z) : was.v - was.z * fma(beta, was.a, theta);
    const auto add = [&](std::int64_t which, F16 x) { store(sums(which, b) + column, load(sums(which, b) + column) + x); };
    add(0, voltage * remains);
    add(1, distance);
    add(2, distance * load(kept_.adaptations + kept));
    store(to_.drive + outside, voltage);
    store(carried(kVoltage) + place, voltage);
    store(carried(kAdaptation) + place, adaptation);
    store(carried(kTrace) + place, trace);
    store(errors_.get() + in_chunk * tiles_.slot + place, voltage);
    store(fired_.get() + in_chunk * tiles_.slot + place, was.z);
  }

  void weight_gradient(std::int64_t k, std::int64_t steps, bool fresh) const {
    const std::int64_t width = tiles_.width;
    const Left left{fired_.get() + run_.places[2 * k] * tiles_.step(), 1, tiles_.slot, width};
    const Right right{errors_.get() + run_.places[2 * k + 1] * tiles_.step(), tiles_.slot, width};
    product(left, right, steps, tiles_.rows, width, tiles_.vectors(), to_.weight + k * width * width, width, !fresh);
  }

  void finish() const {
    const std::int64_t n = tiles_.columns;
    for (std::int64_t column = 0; column < n; ++column) {
      float sum[3] = {};
      for (std::int64_t which = 0; which < 3; ++which) {
        for (std::int64_t group = 0; group < tiles_.groups(); ++group)
          sum[which] += sums_.get()[(which * tiles_.groups() + group) * n + column];
      }
      to_.alpha[column] = sum[0];
      to_.theta[column] = -sum[1];
      to_.beta[column] = -sum[2];
    }
    Buffer<float> plain(4 * tiles_.slot);
    for (std::int64_t part = 0; part < 4; ++part) from_tiles(tiles_, carried_.get() + part * tiles_.slot, plain.get() + part * tiles_.slot);
    const float *voltage = plain.get(), *adaptation = voltage + tiles_.slot, *spike = adaptation + tiles_.slot,
                *trace = spike + tiles_.slot;
    for (std::int64_t p = 0; p < tiles_.slot; ++p) {
      const float remains = run_.to_zero ? 1.0f - run_.state[2 * tiles_.slot + p] : 1.0f;
      to_.state[p] = run_.alpha[p % n] * voltage[p] * remains;
      to_.state[tiles_.slot + p] = run_.rho * adaptation[p];
      to_.state[2 * tiles_.slot + p] = (1.0f - run_.rho) * adaptation[p] + spike[p];
      to_.state[3 * tiles_.slot + p] = run_.kappa * trace[p];
      to_.state[4 * tiles_.slot + p] = 0.0f;
    }
  }

  const SpikingRun& run_;
  const SpikingKept& kept_;
  const SpikingGradients& to_;
  const SpikingTiles tiles_;
  const std::int64_t chunk_;
  const Wiring wiring_;
  const Buffer<float> begin_, carried_, errors_, fired_, sums_;
  Buffer<float> end_;
};

}  // namespace quintet::QUINTET_NAMESPACE
