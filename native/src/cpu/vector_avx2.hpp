// 16 lanes in two registers. See vector.hpp.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace quintet::QUINTET_NAMESPACE {

constexpr int kPanelVectors = 1;  // 6 x 1 vectors are 12 of 16 registers

struct F16 {
  __m256 a, b;  // lanes 0..7 and 8..15
  F16() = default;
  F16(__m256 x, __m256 y) : a(x), b(y) {}
  explicit F16(float x) : a(_mm256_set1_ps(x)), b(a) {}
};

using Lanes = std::uint16_t;

inline F16 load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
inline void store(float* p, F16 x) {
  _mm256_storeu_ps(p, x.a);
  _mm256_storeu_ps(p + 8, x.b);
}
// Past the caches, to a line's border; seen by other threads after a fence.
inline void stream(float* p, F16 x) {
  _mm256_stream_ps(p, x.a);
  _mm256_stream_ps(p + 8, x.b);
}
inline void fence() { _mm_sfence(); }
inline F16 operator+(F16 x, F16 y) { return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
inline F16 operator-(F16 x, F16 y) { return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
inline F16 operator*(F16 x, F16 y) { return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
inline F16 operator/(F16 x, F16 y) { return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
inline F16 fma(F16 x, F16 y, F16 z) { return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)}; }
inline F16 square_root(F16 x) { return {_mm256_sqrt_ps(x.a), _mm256_sqrt_ps(x.b)}; }
inline F16 min(F16 x, F16 y) { return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)}; }
inline F16 max(F16 x, F16 y) { return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }

inline Lanes join(__m256 low, __m256 high) { return static_cast<Lanes>(_mm256_movemask_ps(low) | _mm256_movemask_ps(high) << 8); }
inline Lanes greater(F16 x, F16 y) { return join(_mm256_cmp_ps(x.a, y.a, _CMP_GT_OQ), _mm256_cmp_ps(x.b, y.b, _CMP_GT_OQ)); }

// All bits of a lane set where its bit among the 8 lowest of `lanes` is.
inline __m256 spread(int lanes) {
  const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  return _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(lanes), bit), bit));
}
inline F16 select(Lanes lanes, F16 yes, F16 no) {
  return {_mm256_blendv_ps(no.a, yes.a, spread(lanes)), _mm256_blendv_ps(no.b, yes.b, spread(lanes >> 8))};
}

inline __m256 times_power(__m256 x, __m256 shifted) {
  const __m256i n = _mm256_slli_epi32(_mm256_castps_si256(shifted), 23);
  return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x), n));
}
inline F16 times_power(F16 x, F16 shifted) { return {times_power(x.a, shifted.a), times_power(x.b, shifted.b)}; }

inline float sum(F16 x) {
  const __m256 b = _mm256_add_ps(x.a, x.b);
  __m128 c = _mm_add_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));
  c = _mm_add_ps(c, _mm_movehl_ps(c, c));
  return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}

struct U16 {
  __m256i a, b;
};

inline U16 counting(std::uint32_t first) {
  const __m256i low = _mm256_add_epi32(_mm256_set1_epi32(static_cast<int>(first)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  return {low, _mm256_add_epi32(low, _mm256_set1_epi32(8))};
}
inline U16 all(std::uint32_t x) { return {_mm256_set1_epi32(static_cast<int>(x)), _mm256_set1_epi32(static_cast<int>(x))}; }
inline U16 operator^(U16 x, U16 y) { return {_mm256_xor_si256(x.a, y.a), _mm256_xor_si256(x.b, y.b)}; }
inline __m256 at_least(__m256i x, __m256i limit) { return _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_max_epu32(x, limit), x)); }
inline Lanes at_least(U16 x, std::uint32_t limit) { return join(at_least(x.a, all(limit).a), at_least(x.b, all(limit).b)); }

inline void multiply(__m256i a, __m256i m, __m256i& low, __m256i& high) {
  const __m256i even = _mm256_mul_epu32(a, m), odd = _mm256_mul_epu32(_mm256_srli_epi64(a, 32), m);
  low = _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xAA);
  high = _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xAA);
}
inline void multiply(U16 x, std::uint32_t factor, U16& low, U16& high) {
  const U16 m = all(factor);
  multiply(x.a, m.a, low.a, high.a);
  multiply(x.b, m.b, low.b, high.b);
}

}  // namespace quintet::QUINTET_NAMESPACE
