// Vectors of 16 lanes in three forms (AVX-512, AVX2 with FMA, portable C++), that give the same bits: each operation is rounded once, as
// IEEE 754 says, and sums are taken in one order. A file of kernels defines QUINTET_LEVEL as 0 (portable), 2 (AVX2) or 512, sets the
// compiler's target to it (the standard headers included before) and includes this once; everything lies in the namespace of the level.
#pragma once

#if QUINTET_LEVEL == 512
#include "vector_avx512.hpp"
#elif QUINTET_LEVEL == 2
#include "vector_avx2.hpp"
#else
#include "vector_scalar.hpp"
#endif

namespace quintet::QUINTET_NAMESPACE {

inline F16 operator-(F16 a) { return F16(0.0f) - a; }

// NaN stays NaN.
inline F16 clamp(F16 x, float low, float high) { return min(F16(high), max(F16(low), x)); }

// p[0] + p[1] x + ... + p[n-1] x^(n-1), by Horner's rule.
template <int n>
inline F16 polynomial(const float (&p)[n], F16 x) {
  F16 y(p[n - 1]);
#pragma GCC unroll 16
  for (int i = n - 2; i >= 0; --i) y = fma(y, x, F16(p[i]));
  return y;
}

}  // namespace quintet::QUINTET_NAMESPACE
