// Activation functions and their derivatives. `value` maps the pre-activation; `slope` is the derivative, seen from the value where
// `slope_from_value` says that it can be (then only the value is kept for the backward pass), else from the pre-activation.
// The coefficients are minimax fits of ours; errors are a few units in the last place of 1.
#pragma once

#include <type_traits>

#include "quintet/recurrent.hpp"
#include "vector.hpp"

namespace quintet::QUINTET_NAMESPACE {

constexpr bool slope_from_value(Activation f) { return f != Activation::kGelu && f != Activation::kSilu; }

// e^x for x in -87..88, clamped to that: x = n ln 2 + r, e^r by a polynomial (relative error 2e-9 before rounding).
inline F16 exponential(F16 x) {
  constexpr float kTaylor[] = {1.0f, 1.000000036f, 0.4999999208f, 0.166664201f, 0.04166822612f, 0.008374822069f, 0.001383683388f};
  const F16 shift(12582912.0f);  // 1.5 x 2^23: adding it rounds to an integer
  const F16 bounded = clamp(x, -87.0f, 88.0f);
  const F16 shifted = fma(bounded, F16(1.44269504f), shift), n = shifted - shift;
  const F16 r = fma(n, F16(-1.42860677e-6f), fma(n, F16(-0.693145752f), bounded));
  return times_power(polynomial(kTaylor, r), shifted);
}

// x P(x^2) / Q(x^2), relative error 1.2e-8 before rounding; 1 beyond 8.5.
inline F16 hyperbolic_tangent(F16 x) {
  constexpr float kP[] = {0.9999999882f, 0.1341326844f, 0.003534051763f, 2.125142707e-05f, 1.426970421e-08f};
  constexpr float kQ[] = {1.0f, 0.467465912f, 0.02602284778f, 0.0003348904381f, 8.145329996e-07f};
  const F16 z = clamp(x, -8.5f, 8.5f), square = z * z;
  return clamp(z * polynomial(kP, square) / polynomial(kQ, square), -1.0f, 1.0f);
}

inline F16 logistic(F16 x) { return F16(1.0f) / (F16(1.0f) + exponential(-x)); }

// The normal distribution Phi(x) and e^(-x^2/2): erfc(z) = e^(-z^2) P(1 / (1 + 0.4 z)) with z = |x| / sqrt 2 (relative error 8e-8).
struct Normal {
  F16 distribution, bell;
};
inline Normal normal(F16 x) {
  constexpr float kP[] = {8.917384392e-05f, 0.2238007999f, 0.2425794369f,  0.1221101711f, 0.4376740776f,
                          -0.4011644066f,   0.6975987368f, -0.3966850814f, 0.07399700881f};
  const Lanes positive = greater(x, F16(0.0f));
  const F16 z = select(positive, x, -x) * F16(0.70710678f);
  const F16 bell = exponential(-(z * z));
  const F16 tail = F16(0.5f) * bell * polynomial(kP, F16(1.0f) / fma(z, F16(0.4f), F16(1.0f)));
  return {select(positive, F16(1.0f) - tail, tail), bell};
}

template <Activation f>
inline F16 value(F16 x) {
  const F16 zero(0.0f);
  if constexpr (f == Activation::kRelu) return max(zero, x);
  if constexpr (f == Activation::kLeakyRelu) return select(greater(zero, x), x * F16(0.01f), x);
  if constexpr (f == Activation::kElu) return select(greater(zero, x), exponential(x) - F16(1.0f), x);
  if constexpr (f == Activation::kTanh) return hyperbolic_tangent(x);
  if constexpr (f == Activation::kSigmoid) return logistic(x);
  if constexpr (f == Activation::kGelu) return x * normal(x).distribution;
  if constexpr (f == Activation::kSilu) return x * logistic(x);
  return x;
}

// The derivative at y = value(x), or at y = x for those whose value does not tell it.
template <Activation f>
inline F16 slope(F16 y) {
  const F16 zero(0.0f), one(1.0f);
  if constexpr (f == Activation::kRelu) return select(greater(y, zero), one, zero);
  if constexpr (f == Activation::kLeakyRelu) return select(greater(y, zero), one, F16(0.01f));
  if constexpr (f == Activation::kElu) return select(greater(y, zero), one, y + one);
  if constexpr (f == Activation::kTanh) return fma(-y, y, one);
  if constexpr (f == Activation::kSigmoid) return y * (one - y);
  if constexpr (f == Activation::kGelu) {
    const Normal at = normal(y);
    return fma(y * F16(0.39894228f), at.bell, at.distribution);
  }
  if constexpr (f == Activation::kSilu) {
    const F16 s = logistic(y);
    return s * fma(y, one - s, one);
  }
  return one;
}

// Calls body with the activation as a compile-time constant.
template <class Body>
inline auto with_activation(Activation f, Body body) {
  switch (f) {
    case Activation::kRelu: return body(std::integral_constant<Activation, Activation::kRelu>());
    case Activation::kLeakyRelu: return body(std::integral_constant<Activation, Activation::kLeakyRelu>());
    case Activation::kElu: return body(std::integral_constant<Activation, Activation::kElu>());
    case Activation::kTanh: return body(std::integral_constant<Activation, Activation::kTanh>());
    case Activation::kSigmoid: return body(std::integral_constant<Activation, Activation::kSigmoid>());
    case Activation::kGelu: return body(std::integral_constant<Activation, Activation::kGelu>());
    case Activation::kSilu: return body(std::integral_constant<Activation, Activation::kSilu>());
    default: return body(std::integral_constant<Activation, Activation::kIdentity>());
  }
}

}  // namespace quintet::QUINTET_NAMESPACE
