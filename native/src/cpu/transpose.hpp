// 16 x 16 numbers transposed in registers, at each level.
#pragma once

#include "vector.hpp"

namespace quintet::QUINTET_NAMESPACE {

#if QUINTET_LEVEL == 512
inline __m512 pairs(__m512 x, __m512 y, bool high) {
  const __m512d p = _mm512_castps_pd(x), q = _mm512_castps_pd(y);
  return _mm512_castpd_ps(high ? _mm512_unpackhi_pd(p, q) : _mm512_unpacklo_pd(p, q));
}

inline void transpose_16(const float* from, std::int64_t from_step, float* to, std::int64_t to_step) {
  __m512 a[16], b[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) a[i] = _mm512_loadu_ps(from + i * from_step);
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    b[i] = _mm512_unpacklo_ps(a[i], a[i + 1]);
    b[i + 1] = _mm512_unpackhi_ps(a[i], a[i + 1]);
  }
  // Of rows 4 g .. 4 g + 3: a[4 g + j] holds columns j, 4 + j, 8 + j, 12 + j.
#pragma GCC unroll 4
  for (int g = 0; g < 16; g += 4) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) a[g + j] = pairs(b[g + j / 2], b[g + 2 + j / 2], j % 2 != 0);
  }
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const __m512 low = _mm512_shuffle_f32x4(a[j], a[4 + j], 0x88), low_odd = _mm512_shuffle_f32x4(a[j], a[4 + j], 0xdd);
    const __m512 high = _mm512_shuffle_f32x4(a[8 + j], a[12 + j], 0x88), high_odd = _mm512_shuffle_f32x4(a[8 + j], a[12 + j], 0xdd);
    _mm512_storeu_ps(to + j * to_step, _mm512_shuffle_f32x4(low, high, 0x88));
    _mm512_storeu_ps(to + (4 + j) * to_step, _mm512_shuffle_f32x4(low_odd, high_odd, 0x88));
    _mm512_storeu_ps(to + (8 + j) * to_step, _mm512_shuffle_f32x4(low, high, 0xdd));
    _mm512_storeu_ps(to + (12 + j) * to_step, _mm512_shuffle_f32x4(low_odd, high_odd, 0xdd));
  }
}
#elif QUINTET_LEVEL == 2
inline void transpose_8(const float* from, std::int64_t from_step, float* to, std::int64_t to_step) {
  __m256 a[8], b[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) a[i] = _mm256_loadu_ps(from + i * from_step);
#pragma GCC unroll 4
  for (int i = 0; i < 8; i += 2) {
    b[i] = _mm256_unpacklo_ps(a[i], a[i + 1]);
    b[i + 1] = _mm256_unpackhi_ps(a[i], a[i + 1]);
  }
#pragma GCC unroll 2
  for (int g = 0; g < 8; g += 4) {
#pragma GCC unroll 2
    for (int j = 0; j < 2; ++j) {
      a[g + 2 * j] = _mm256_shuffle_ps(b[g + j], b[g + 2 + j], 0x44);
      a[g + 2 * j + 1] = _mm256_shuffle_ps(b[g + j], b[g + 2 + j], 0xee);
    }
  }
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    _mm256_storeu_ps(to + j * to_step, _mm256_permute2f128_ps(a[j], a[4 + j], 0x20));
    _mm256_storeu_ps(to + (4 + j) * to_step, _mm256_permute2f128_ps(a[j], a[4 + j], 0x31));
  }
}
inline void transpose_16(const float* from, std::int64_t from_step, float* to, std::int64_t to_step) {
  for (int i = 0; i < 16; i += 8) {
    for (int j = 0; j < 16; j += 8) transpose_8(from + i * from_step + j, from_step, to + j * to_step + i, to_step);
  }
}
#else
inline void transpose_16(const float* from, std::int64_t from_step, float* to, std::int64_t to_step) {
  for (int i = 0; i < 16; ++i) {
    for (int j = 0; j < 16; ++j) to[j * to_step + i] = from[i * from_step + j];
  }
}
#endif

// Rows [rows, columns] to [columns, 16], zeros behind the `rows`; at most 16 of each, with 256 numbers of `room` where there are fewer.
inline void transpose_part(const float* from, std::int64_t from_step, int rows, int columns, float* to, std::int64_t to_step, float* room) {
  if (rows == 16 && columns == 16) return transpose_16(from, from_step, to, to_step);
  for (int j = 0; j < columns; ++j) {
    for (int i = 0; i < 16; ++i) room[i] = i < rows ? from[i * from_step + j] : 0.0f;
    std::memcpy(to + j * to_step, room, 16 * sizeof(float));
  }
}

}  // namespace quintet::QUINTET_NAMESPACE
