// 16 lanes in one register. See vector.hpp.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace quintet::QUINTET_NAMESPACE {

constexpr int kPanelVectors = 4;  // vectors of a row that a product keeps in registers: 6 x 4 of 32

struct F16 {
  __m512 v;
  F16() = default;
  explicit F16(__m512 x) : v(x) {}
  explicit F16(float x) : v(_mm512_set1_ps(x)) {}
};

using Lanes = std::uint16_t;  // one bit a lane

inline F16 load(const float* p) { return F16(_mm512_loadu_ps(p)); }
inline void store(float* p, F16 a) { _mm512_storeu_ps(p, a.v); }
// Past the caches, to a line's border; seen by other threads after a fence.
inline void stream(float* p, F16 a) { _mm512_stream_ps(p, a.v); }
inline void fence() { _mm_sfence(); }
inline F16 operator+(F16 a, F16 b) { return F16(_mm512_add_ps(a.v, b.v)); }
inline F16 operator-(F16 a, F16 b) { return F16(_mm512_sub_ps(a.v, b.v)); }
inline F16 operator*(F16 a, F16 b) { return F16(_mm512_mul_ps(a.v, b.v)); }
inline F16 operator/(F16 a, F16 b) { return F16(_mm512_div_ps(a.v, b.v)); }
inline F16 fma(F16 a, F16 b, F16 c) { return F16(_mm512_fmadd_ps(a.v, b.v, c.v)); }
inline F16 square_root(F16 a) { return F16(_mm512_sqrt_ps(a.v)); }
inline F16 min(F16 a, F16 b) { return F16(_mm512_min_ps(a.v, b.v)); }
inline F16 max(F16 a, F16 b) { return F16(_mm512_max_ps(a.v, b.v)); }
inline Lanes greater(F16 a, F16 b) { return _mm512_cmp_ps_mask(a.v, b.v, _CMP_GT_OQ); }
inline F16 select(Lanes lanes, F16 yes, F16 no) { return F16(_mm512_mask_blend_ps(lanes, no.v, yes.v)); }

// x 2^n, where `shifted` is n + 1.5 x 2^23: its low mantissa bits are n, and go to the exponent.
inline F16 times_power(F16 x, F16 shifted) {
  const __m512i n = _mm512_slli_epi32(_mm512_castps_si512(shifted.v), 23);
  return F16(_mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(x.v), n)));
}

// Halves are added until one lane is left.
inline float sum(F16 a) {
  const __m256 b = _mm256_add_ps(_mm512_castps512_ps256(a.v), _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(a.v), 1)));
  __m128 c = _mm_add_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));
  c = _mm_add_ps(c, _mm_movehl_ps(c, c));
  return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}

struct U16 {
  __m512i v;
};

inline U16 counting(std::uint32_t first) {
  return {_mm512_add_epi32(_mm512_set1_epi32(static_cast<int>(first)),
                           _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15))};
}
inline U16 all(std::uint32_t x) { return {_mm512_set1_epi32(static_cast<int>(x))}; }
inline U16 operator^(U16 a, U16 b) { return {_mm512_xor_si512(a.v, b.v)}; }
inline Lanes at_least(U16 a, std::uint32_t limit) { return _mm512_cmpge_epu32_mask(a.v, all(limit).v); }

// The 64-bit products of 16 numbers and one: low and high halves.
inline void multiply(U16 a, std::uint32_t factor, U16& low, U16& high) {
  const __m512i m = all(factor).v;
  const __m512i even = _mm512_mul_epu32(a.v, m), odd = _mm512_mul_epu32(_mm512_srli_epi64(a.v, 32), m);
  low.v = _mm512_mask_blend_epi32(0xAAAA, even, _mm512_slli_epi64(odd, 32));
  high.v = _mm512_mask_blend_epi32(0xAAAA, _mm512_srli_epi64(even, 32), odd);
}

}  // namespace quintet::QUINTET_NAMESPACE
