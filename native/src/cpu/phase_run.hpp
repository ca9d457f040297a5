// A phase of spiking neurons, row by row; the backward pass computes the steps again instead of keeping them.
#pragma once

#include "quintet/phase.hpp"
#include "vector.hpp"

namespace quintet::QUINTET_NAMESPACE {

struct Moments {
  float mean, rate;  // rate: 1 / standard deviation
};

// Of a row of numbers, a multiple of 16.
inline Moments moments(const float* x, std::int64_t count, float epsilon) {
  const float share = 1.0f / static_cast<float>(count);
  F16 total(0.0f);
  for (std::int64_t i = 0; i < count; i += 16) total = total + load(x + i);
  const float mean = sum(total) * share;
  F16 squares(0.0f);
  for (std::int64_t i = 0; i < count; i += 16) {
    const F16 d = load(x + i) - F16(mean);
    squares = fma(d, d, squares);
  }
  return {mean, 1.0f / std::sqrt(sum(squares) * share + epsilon)};
}

// 16 neurons of a row: where they lie, and what drives them.
struct Group {
  Group(const Phase& phase, std::int64_t row, std::int64_t column, Moments moments)
      : place(row * phase.neurons + column), own(phase.by_row ? place : column),
        unit((load(phase.current + place) - F16(moments.mean)) * F16(moments.rate)),
        normal(fma(unit, load(phase.gain + column), load(phase.bias + column))), modulation(load(phase.modulation + place)),
        decay(load(phase.decay + own)), charge(load(phase.charge + own)), voltage(load(phase.voltage + place)),
        adaptation(load(phase.adaptation + place)), drive(charge * (normal * modulation)) {}

  // One internal step; the number u says how far above its threshold the voltage was.
  Lanes step(const Phase& phase, F16& u) {
    const F16 v = fma(decay, voltage, drive), threshold = fma(F16(phase.beta), adaptation, F16(1.0f));
    u = v - threshold;
    const Lanes fires = greater(u, F16(0.0f));
    voltage = select(fires, u, v);
    adaptation = fma(F16(phase.rho), adaptation, select(fires, F16(1.0f - phase.rho), F16(0.0f)));
    return fires;
  }

  const std::int64_t place, own;
  const F16 unit, normal, modulation, decay, charge;
  F16 voltage, adaptation;
  const F16 drive;
};

inline void run_forward(const Phase& phase, float* rate, float* voltage, float* adaptation) {
  const F16 share(1.0f / static_cast<float>(phase.steps));
  for (std::int64_t row = 0; row < phase.batch; ++row) {
    const Moments moments_of_row = moments(phase.current + row * phase.neurons, phase.neurons, phase.epsilon);
    for (std::int64_t i = 0; i < phase.neurons; i += 16) {
      Group group(phase, row, i, moments_of_row);
      F16 count(0.0f), u;
      for (std::int64_t k = 0; k < phase.steps; ++k) count = count + select(group.step(phase, u), F16(1.0f), F16(0.0f));
      store(rate + group.place, count * share);
      store(voltage + group.place, group.voltage);
      store(adaptation + group.place, group.adaptation);
    }
  }
}

inline void add(float* to, F16 x) { store(to, load(to) + x); }

class PhaseBackward {
 public:
  PhaseBackward(const Phase& phase, const PhaseGradients& gradients) : phase_(phase), to_(gradients) {}

  // The gradients that are sums over rows begin at zero.
  void clear() const {
    clear(to_.gain, phase_.neurons);
    clear(to_.bias, phase_.neurons);
    if (phase_.by_row) return;
    clear(to_.decay, phase_.neurons);
    clear(to_.charge, phase_.neurons);
  }

  // Those are added to, the others written.
  void operator()() const {
    switch (phase_.steps) {
      case 1: return rows<1>();
      case 2: return rows<2>();
      case 3: return rows<3>();
      case 4: return rows<4>();
      case 6: return rows<6>();
      default: return rows<0>();
    }
  }

 private:
  static void clear(float* to, std::int64_t count) { std::memset(to, 0, static_cast<std::size_t>(count) * sizeof(float)); }

  // `known`: the number of steps, of which the compiler makes registers; 0: any number.
  template <int known>
  void rows() const {
    for (std::int64_t row = 0; row < phase_.batch; ++row) backward<known>(row);
  }

  template <int known>
  void backward(std::int64_t row) const {
    const Moments m = moments(phase_.current + row * phase_.neurons, phase_.neurons, phase_.epsilon);
    F16 total(0.0f), along(0.0f);
    for (std::int64_t i = 0; i < phase_.neurons; i += 16) {
      Group group(phase_, row, i, m);
      const F16 unit = group.unit, change = neurons<known>(group, i);
      store(to_.current + group.place, change);
      total = total + change;
      along = fma(change, unit, along);
    }
    const float share = 1.0f / static_cast<float>(phase_.neurons);
    const F16 mean(sum(total) * share), slope(sum(along) * share);
    for (std::int64_t i = 0; i < phase_.neurons; i += 16) {
      float* to = to_.current + row * phase_.neurons + i;
      const F16 unit = (load(phase_.current + row * phase_.neurons + i) - F16(m.mean)) * F16(m.rate);
      store(to, F16(m.rate) * (load(to) - mean - unit * slope));
    }
  }

  // The steps backwards; returns the gradient of the normalised current, before its gain.
  template <int known>
  F16 neurons(Group& group, std::int64_t column) const {
    constexpr float kPi = 3.14159265f;
    constexpr std::int64_t kRoom = known > 0 ? known : kMostPhaseSteps;
    const std::int64_t steps = known > 0 ? known : phase_.steps;
    F16 u[kRoom], before[kRoom];
#pragma GCC unroll 6
    for (std::int64_t k = 0; k < steps; ++k) {
      before[k] = group.voltage;
      group.step(phase_, u[k]);
    }
    const F16 share(phase_.height / static_cast<float>(phase_.steps)), one(1.0f);
    const F16 spike = to_.rate == nullptr ? F16(0.0f) : load(to_.rate + group.place) * share;
    F16 voltage = to_.last == nullptr ? F16(0.0f) : load(to_.last + group.place), drive(0.0f), decay(0.0f);
#pragma GCC unroll 6
    for (std::int64_t k = steps - 1; k >= 0; --k) {
      const F16 scaled = u[k] * F16(kPi);
      voltage = voltage + spike / fma(scaled, scaled, one);
      drive = drive + voltage;
      decay = fma(voltage, before[k], decay);
      voltage = voltage * group.decay;
    }
    store(to_.voltage + group.place, voltage);
    put(to_.decay, group, decay);
    put(to_.charge, group, drive * (group.normal * group.modulation));
    const F16 current = drive * group.charge, normal = current * group.modulation;
    store(to_.modulation + group.place, current * group.normal);
    add(to_.gain + column, normal * group.unit);
    add(to_.bias + column, normal);
    return normal * load(phase_.gain + column);
  }

  void put(float* to, const Group& group, F16 x) const {
    if (phase_.by_row) return store(to + group.own, x);
    add(to + group.own, x);
  }

  const Phase phase_;
  const PhaseGradients to_;
};

inline void run_backward(const Phase& phase, const PhaseGradients& gradients) {
  const PhaseBackward backward(phase, gradients);
  backward.clear();
  backward();
}

}  // namespace quintet::QUINTET_NAMESPACE
