// AVX2: a tile is two registers of 8 rows x 4 columns. `vpmaddubsw` adds neighbouring products in 16 bits: for levels below 16 at most
// 2 * 15 * 127 = 3810 in size, so 8 of them may be added up before they must be widened to 32 bits. Levels of a byte would saturate it.
#if defined(__x86_64__)
#include <immintrin.h>

#include <algorithm>
#include <array>

#include "elementwise.hpp"

#define TARGET __attribute__((target("avx2,fma")))
#define UNROLL _Pragma("GCC unroll 16")

namespace quintet {
namespace {

constexpr std::int64_t kNarrowSums = 8;
constexpr int kHalfRows = 8;

TARGET QUINTET_INLINE __m256i load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }

TARGET QUINTET_INLINE __m256i broadcast(const std::int8_t* q) {
  std::int32_t four;
  std::memcpy(&four, q, sizeof four);
  return _mm256_set1_epi32(four);
}

// sums[8] (+)= the two 16-bit halves of each 32-bit lane, added.
TARGET QUINTET_INLINE void widen(__m256i narrow, bool first, std::int32_t* sums) {
  const __m256i wide = _mm256_madd_epi16(narrow, _mm256_set1_epi16(1));
  auto* out = reinterpret_cast<__m256i*>(sums);
  _mm256_storeu_si256(out, first ? wide : _mm256_add_epi32(wide, load(sums)));
}

// H half tiles, which lie one after the other in each step of a block of `tiles` tiles.
template <int H>
TARGET void gemv_halves(const std::uint8_t* block, int tiles, std::int64_t depth, const std::int8_t* q, std::int32_t* sums) {
  const __m256i low = _mm256_set1_epi8(15);
  for (std::int64_t begin = 0; begin < depth; begin += 4 * kNarrowSums) {
    __m256i sum[H];
    UNROLL for (int h = 0; h < H; ++h) sum[h] = _mm256_setzero_si256();
    for (std::int64_t k = begin; k < std::min(depth, begin + 4 * kNarrowSums); k += 8, block += 64 * tiles) {
      const __m256i x0 = broadcast(q + k), x1 = broadcast(q + k + 4);
      UNROLL for (int h = 0; h < H; ++h) {
        const __m256i z = load(block + 32 * h);
        sum[h] = _mm256_add_epi16(sum[h], _mm256_maddubs_epi16(_mm256_and_si256(z, low), x0));
        sum[h] = _mm256_add_epi16(sum[h], _mm256_maddubs_epi16(_mm256_and_si256(_mm256_srli_epi16(z, 4), low), x1));
      }
    }
    UNROLL for (int h = 0; h < H; ++h) widen(sum[h], begin == 0, sums + h * kHalfRows);
  }
}

void gemv_nibble(const std::uint8_t* block, int tiles, std::int64_t depth, const std::int8_t* q, std::int32_t* sums) {
  int tile = 0;
  for (; tile + 4 <= tiles; tile += 4) gemv_halves<8>(block + 64 * tile, tiles, depth, q, sums + tile * kTileRows);
  for (; tile < tiles; ++tile) gemv_halves<2>(block + 64 * tile, tiles, depth, q, sums + tile * kTileRows);
}

// Levels of a byte times activations, in 32 bits: digits -128..127 as |w| times q with w's sign, which 16 bits hold (2 * 128 * 127).
TARGET QUINTET_INLINE __m256i dot_digits(__m256i levels, __m256i x) {
  const __m256i w = _mm256_xor_si256(levels, _mm256_set1_epi8(-128));
  return _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w)), _mm256_set1_epi16(1));
}

// What sums of digits lack of sums of levels.
TARGET QUINTET_INLINE __m256i excess(const std::int8_t* q, std::int64_t columns) {
  std::int32_t sum = 0;
  for (std::int64_t k = 0; k < columns; ++k) sum += q[k];
  return _mm256_set1_epi32(offset_of(Form::kByte) * sum);
}

TARGET void gemv_byte(const std::uint8_t* block, int tiles, std::int64_t depth, const std::int8_t* q, std::int32_t* sums) {
  __m256i sum[2 * kBlockTiles];
  std::fill(sum, sum + 2 * tiles, excess(q, depth));
  for (std::int64_t k = 0; k < depth; k += 4, block += 64 * tiles) {
    const __m256i x = broadcast(q + k);
    for (int h = 0; h < 2 * tiles; ++h) sum[h] = _mm256_add_epi32(sum[h], dot_digits(load(block + 32 * h), x));
  }
  std::memcpy(sums, sum, static_cast<std::size_t>(tiles * kTileRows) * sizeof *sums);
}

TARGET void expand_byte(const std::uint8_t* steps, int tiles, std::int64_t columns, std::uint8_t* levels) {
  for (std::int64_t k = 0; k < columns; k += 4, steps += 64 * tiles, levels += Panel::kStride) {
    std::memcpy(levels, steps, static_cast<std::size_t>(64 * tiles));
  }
}

TARGET void expand_nibble(const std::uint8_t* steps, int tiles, std::int64_t columns, std::uint8_t* levels) {
  const __m256i low = _mm256_set1_epi8(15);
  for (std::int64_t k = 0; k < columns; k += 8, steps += 64 * tiles, levels += 2 * Panel::kStride) {
    for (int half = 0; half < 2 * tiles; ++half) {
      const __m256i z = load(steps + 32 * half);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(levels + 32 * half), _mm256_and_si256(z, low));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(levels + Panel::kStride + 32 * half), _mm256_and_si256(_mm256_srli_epi16(z, 4), low));
    }
  }
}

// A tile of levels below 16 times T tokens.
template <int T>
TARGET void multiply_nibbles(const Panel& panel, const std::int8_t* q, std::int64_t stride, bool first, std::int32_t* sums) {
  for (std::int64_t begin = 0; begin < panel.columns; begin += 4 * kNarrowSums) {
    __m256i sum[2][T];
    UNROLL for (int h = 0; h < 2; ++h) {
      UNROLL for (int t = 0; t < T; ++t) sum[h][t] = _mm256_setzero_si256();
    }
    for (std::int64_t k = begin; k < std::min(panel.columns, begin + 4 * kNarrowSums); k += 4) {
      const __m256i w[2] = {load(panel.levels + k / 4 * Panel::kStride), load(panel.levels + k / 4 * Panel::kStride + 32)};
      UNROLL for (int t = 0; t < T; ++t) {
        const __m256i x = broadcast(q + t * stride + k);
        UNROLL for (int h = 0; h < 2; ++h) sum[h][t] = _mm256_add_epi16(sum[h][t], _mm256_maddubs_epi16(w[h], x));
      }
    }
    UNROLL for (int h = 0; h < 2; ++h) {
      UNROLL for (int t = 0; t < T; ++t) widen(sum[h][t], first && begin == 0, sums + t * kBlockRows + h * kHalfRows);
    }
  }
}

// The same for levels of a byte.
template <int T>
TARGET void multiply_bytes(const Panel& panel, const std::int8_t* q, std::int64_t stride, bool first, std::int32_t* sums) {
  __m256i sum[2][T];
  UNROLL for (int t = 0; t < T; ++t) sum[0][t] = sum[1][t] = excess(q + t * stride, panel.columns);
  for (std::int64_t k = 0; k < panel.columns; k += 4) {
    const std::uint8_t* w = panel.levels + k / 4 * Panel::kStride;
    UNROLL for (int t = 0; t < T; ++t) {
      const __m256i x = broadcast(q + t * stride + k);
      UNROLL for (int h = 0; h < 2; ++h) sum[h][t] = _mm256_add_epi32(sum[h][t], dot_digits(load(w + 32 * h), x));
    }
  }
  UNROLL for (int h = 0; h < 2; ++h) {
    UNROLL for (int t = 0; t < T; ++t) {
      std::int32_t* out = sums + t * kBlockRows + h * kHalfRows;
      const __m256i before = first ? _mm256_setzero_si256() : load(out);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm256_add_epi32(before, sum[h][t]));
    }
  }
}

// A tile's levels at one column become floats as the last bits of the number 2^23, in steps of 1; from there to the digits it is a difference.
template <int T>
TARGET void multiply_floats(const Panel& panel, const float* x, std::int64_t stride, bool first, float* sums) {
  const __m256i low = _mm256_set1_epi32(255), base = _mm256_castps_si256(_mm256_set1_ps(0x1p23F));
  const __m256 origin = _mm256_set1_ps(0x1p23F + static_cast<float>(panel.offset));
  __m256 sum[2][T];
  UNROLL for (int h = 0; h < 2; ++h) {
    UNROLL for (int t = 0; t < T; ++t) {
      sum[h][t] = first ? _mm256_setzero_ps() : _mm256_loadu_ps(sums + t * kBlockRows + h * kHalfRows);
    }
  }
  for (std::int64_t k = 0; k < panel.columns; k += 4) {
    __m256i z[2] = {load(panel.levels + k / 4 * Panel::kStride), load(panel.levels + k / 4 * Panel::kStride + 32)};
    UNROLL for (int j = 0; j < 4; ++j) {
      __m256 w[2];
      UNROLL for (int h = 0; h < 2; ++h) {
        w[h] = _mm256_sub_ps(_mm256_castsi256_ps(_mm256_or_si256(_mm256_and_si256(z[h], low), base)), origin);
        z[h] = _mm256_srli_epi32(z[h], 8);
      }
      UNROLL for (int t = 0; t < T; ++t) {
        const __m256 xt = _mm256_set1_ps(x[t * stride + k + j]);
        UNROLL for (int h = 0; h < 2; ++h) sum[h][t] = _mm256_fmadd_ps(w[h], xt, sum[h][t]);
      }
    }
  }
  UNROLL for (int h = 0; h < 2; ++h) {
    UNROLL for (int t = 0; t < T; ++t) _mm256_storeu_ps(sums + t * kBlockRows + h * kHalfRows, sum[h][t]);
  }
}

template <int T>
void multiply_tile(const Panel& panel, const std::int8_t* q, std::int64_t stride, bool first, std::int32_t* sums) {
  (panel.offset < 16 ? multiply_nibbles<T> : multiply_bytes<T>)(panel, q, stride, first, sums);
}

template <int T>
void multiply_tile(const Panel& panel, const float* x, std::int64_t stride, bool first, float* sums) {
  multiply_floats<T>(panel, x, stride, first, sums);
}

template <int T, class X, class Sum>
void multiply_rows(Panel panel, const X* x, std::int64_t stride, bool first, Sum* sums) {
  for (int tile = 0; tile < panel.tiles; ++tile, panel.levels += 64, sums += kTileRows) {
    multiply_tile<T>(panel, x, stride, first, sums);
  }
}

template <class X, class Sum>
void multiply_all(const Panel& panel, const X* x, std::int64_t stride, std::int64_t tokens, bool first, Sum* sums) {
  constexpr int kTokens = 4;  // 2 x 4 sums, 2 weights, an activation and what the products need fill the 16 registers
  for (; tokens >= kTokens; tokens -= kTokens, x += kTokens * stride, sums += kTokens * kBlockRows) {
    multiply_rows<kTokens>(panel, x, stride, first, sums);
  }
  for (; tokens > 0; --tokens, x += stride, sums += kBlockRows) multiply_rows<1>(panel, x, stride, first, sums);
}

void multiply(const Panel& panel, const std::int8_t* q, std::int64_t stride, std::int64_t tokens, bool first, std::int32_t* sums) {
  multiply_all(panel, q, stride, tokens, first, sums);
}

void multiply_float(const Panel& panel, const float* x, std::int64_t stride, std::int64_t tokens, bool first, float* sums) {
  multiply_all(panel, x, stride, tokens, first, sums);
}

TARGET float peak(const float* x, std::int64_t count) { return peak_of(x, count); }

TARGET std::int32_t round(const float* x, std::int64_t count, float largest, std::int8_t* q) { return round_row(x, count, largest, q); }

TARGET void finish(const std::int32_t* sums, std::int64_t rows, int offset, Token token, const float* scale, const float* addend, float* y) {
  finish_rows(sums, rows, offset, token, scale, addend, y);
}

}  // namespace

const Kernels kAvx2Kernels{peak, round, {gemv_nibble, nullptr, gemv_byte}, {expand_nibble, nullptr, expand_byte}, multiply, multiply_float,
                           finish};

}  // namespace quintet
#endif
