// Loops that the compiler vectorises by itself: written once, compiled for each level inside that level's functions.
#pragma once

#include <cstring>
#include <limits>

#include "kernels.hpp"

#define QUINTET_INLINE inline __attribute__((always_inline))

namespace quintet {

// The largest |x|, at least 1e-30 (below it all is taken for 0: its inverse would not be finite); NaN where a number is not finite.
QUINTET_INLINE float peak_of(const float* x, std::int64_t count) {
  // The bits of |x| order as the numbers do, with NaN above infinity: so one maximum finds the largest number and what is not finite.
  std::int32_t peak = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    std::int32_t bits;
    std::memcpy(&bits, x + i, sizeof bits);
    bits &= 0x7FFFFFFF;
    peak = bits > peak ? bits : peak;
  }
  constexpr float kSmallest = 1e-30F;
  float largest;
  std::memcpy(&largest, &peak, sizeof largest);
  if (!(largest <= std::numeric_limits<float>::max())) return std::numeric_limits<float>::quiet_NaN();
  return largest < kSmallest ? kSmallest : largest;
}

QUINTET_INLINE std::int32_t round_row(const float* x, std::int64_t count, float peak, std::int8_t* q) {
  if (!(peak > 0)) {
    std::memset(q, 0, static_cast<std::size_t>(count));
    return 0;
  }
  constexpr float kRound = 12582912.0F;  // 1.5 * 2^23: adding and taking it away rounds to the nearest integer, ties to even
  const float inverse = 127.0F / peak;
  std::int32_t sum = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const float rounded = x[i] * inverse + kRound - kRound;
    const auto value = static_cast<std::int32_t>(rounded);
    q[i] = static_cast<std::int8_t>(value);
    sum += value;
  }
  return sum;
}

QUINTET_INLINE void finish_rows(const std::int32_t* sums, std::int64_t rows, int offset, Token token, const float* scale, const float* addend,
                                float* y) {
  const std::int32_t shift = offset * token.sum;
  if (addend == nullptr) {
    for (std::int64_t r = 0; r < rows; ++r) y[r] = static_cast<float>(sums[r] - shift) * (token.scale * scale[r]);
  } else {
#pragma GCC ivdep  // `addend` may be `y` itself, but never another part of it
    for (std::int64_t r = 0; r < rows; ++r) y[r] = addend[r] + static_cast<float>(sums[r] - shift) * (token.scale * scale[r]);
  }
}

}  // namespace quintet
