// AVX2: a tile is two registers of 8 rows x 4 columns. `vpmaddubsw` adds neighbouring products in 16 bits (at most 2 * 4 * 127 = 1016 in size),
// so 32 of them may be added up before they must be widened to 32 bits.
#if defined(__x86_64__)
#include <immintrin.h>

#include <algorithm>
#include <array>

#include "elementwise.hpp"

#define TARGET __attribute__((target("avx2,fma")))
#define UNROLL _Pragma("GCC unroll 16")

namespace quintet {
namespace {

constexpr std::int64_t kNarrowSums = 32;
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

// A tile times T tokens.
template <int T>
TARGET void multiply_part(const Panel& panel, const std::int8_t* q, std::int64_t stride, bool first, std::int32_t* sums) {
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

// Digits of a tile at one column as floats: a level selects its digit in a register of 8.
template <int T>
TARGET void multiply_part(const Panel& panel, const float* x, std::int64_t stride, bool first, float* sums) {
  const __m256 digits = _mm256_setr_ps(-2, -1, 0, 1, 2, 0, 0, 0);
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
        w[h] = _mm256_permutevar8x32_ps(digits, z[h]);
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

template <int T, class X, class Sum>
void multiply_rows(Panel panel, const X* x, std::int64_t stride, bool first, Sum* sums) {
  for (int tile = 0; tile < panel.tiles; ++tile, panel.levels += 64, sums += kTileRows) {
    multiply_part<T>(panel, x, stride, first, sums);
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

TARGET Token quantize(const float* x, std::int64_t count, std::int8_t* q) { return quantize_row(x, count, q); }

TARGET void finish(const std::int32_t* sums, std::int64_t rows, Token token, const float* scale, const float* bias, float* y) {
  finish_rows(sums, rows, token, scale, bias, y);
}

}  // namespace

const Kernels kAvx2Kernels{quantize, {gemv_nibble, nullptr}, {expand_nibble, nullptr}, multiply, multiply_float, finish};

}  // namespace quintet
#endif
