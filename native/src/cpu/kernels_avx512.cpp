// AVX-512 with VNNI and VBMI. One decoded register is a tile's 16 rows x 4 columns, one level a byte; `vpdpbusd` multiplies it with 4
// activations that are the same in every lane, and adds each row's 4 products to that row's 32-bit sum: no sum ever crosses lanes.
#if defined(__x86_64__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // gcc 12's own header initialises `undefined` registers with themselves
#include <immintrin.h>

#include <array>

#include "elementwise.hpp"

#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi")))
#define UNROLL _Pragma("GCC unroll 16")

namespace quintet {
namespace {

// How far ahead of its use a block is asked for, in bytes: the hardware's own prefetching stops at the end of a 4 KiB page.
constexpr std::int64_t kAhead = 8192;

// Digits of a code, for a lookup in 128 bytes by `vpermi2b`. It takes the lowest 7 bits of an index and ignores bit 7.
struct alignas(64) Tables {
  std::array<std::array<std::uint8_t, 128>, 3> level{};

  constexpr Tables() {
    for (std::size_t c = 0; c < kCodes; ++c) {
      level[0][c] = static_cast<std::uint8_t>(c % 5);
      level[1][c] = static_cast<std::uint8_t>(c / 5 % 5);
      level[2][c] = static_cast<std::uint8_t>(c / 25);
    }
  }
};

constexpr Tables kTables;

TARGET QUINTET_INLINE __m512i load(const void* p) { return _mm512_loadu_si512(p); }

// Four activations in every lane.
TARGET QUINTET_INLINE __m512i broadcast(const std::int8_t* q) {
  std::int32_t four;
  std::memcpy(&four, q, sizeof four);
  return _mm512_set1_epi32(four);
}

struct Lookup {
  __m512i low[3], high[3];

  TARGET QUINTET_INLINE Lookup() {
    UNROLL for (int d = 0; d < 3; ++d) {
      low[d] = load(kTables.level[static_cast<std::size_t>(d)].data());
      high[d] = load(kTables.level[static_cast<std::size_t>(d)].data() + 64);
    }
  }

  TARGET QUINTET_INLINE __m512i level(int d, __m512i codes) const { return _mm512_permutex2var_epi8(low[d], codes, high[d]); }
};

// Codes of a dense step's 8 tiles (each with something left in bit 7). The 8th tile's code is gathered from the others' top bits: before step
// i, byte bits 7.. of `codes` down hold bits 0..i-1 of it; a shift makes room and a select puts the next one on top.
TARGET QUINTET_INLINE void load_dense(const std::uint8_t* step, __m512i* z) {
  const __m512i top = _mm512_set1_epi8(-128);
  UNROLL for (int t = 0; t < 7; ++t) {
    _mm_prefetch(reinterpret_cast<const char*>(step) + 64 * t + kAhead, _MM_HINT_T0);
    z[t] = load(step + 64 * t);
  }
  __m512i codes = z[0];
  constexpr int kSelect = 0xCA;  // a ? b : c
  UNROLL for (int t = 1; t < 7; ++t) codes = _mm512_ternarylogic_epi32(top, z[t], _mm512_srli_epi16(codes, 1), kSelect);
  z[7] = _mm512_srli_epi16(codes, 1);
}

TARGET void gemv_dense(const std::uint8_t* block, int, std::int64_t depth, const std::int8_t* q, std::int32_t* sums) {
  const Lookup lookup;
  __m512i sum[8];
  UNROLL for (int t = 0; t < 8; ++t) sum[t] = _mm512_setzero_si512();
  for (std::int64_t k = 0; k < depth; k += 12, block += 448) {
    const __m512i x[3] = {broadcast(q + k), broadcast(q + k + 4), broadcast(q + k + 8)};
    __m512i z[8];
    load_dense(block, z);
    UNROLL for (int t = 0; t < 8; ++t) {
      UNROLL for (int d = 0; d < 3; ++d) sum[t] = _mm512_dpbusd_epi32(sum[t], lookup.level(d, z[t]), x[d]);
    }
  }
  UNROLL for (int t = 0; t < 8; ++t) _mm512_storeu_si512(sums + t * kTileRows, sum[t]);
}

template <int Tiles>
TARGET void gemv_nibble_of(const std::uint8_t* block, std::int64_t depth, const std::int8_t* q, std::int32_t* sums) {
  const __m512i low = _mm512_set1_epi8(15);
  __m512i sum[Tiles];
  UNROLL for (int t = 0; t < Tiles; ++t) sum[t] = _mm512_setzero_si512();
  for (std::int64_t k = 0; k < depth; k += 8, block += 64 * Tiles) {
    const __m512i x0 = broadcast(q + k), x1 = broadcast(q + k + 4);
    UNROLL for (int t = 0; t < Tiles; ++t) {
      _mm_prefetch(reinterpret_cast<const char*>(block) + 64 * t + kAhead, _MM_HINT_T0);
      const __m512i z = load(block + 64 * t);
      sum[t] = _mm512_dpbusd_epi32(sum[t], _mm512_and_si512(z, low), x0);
      sum[t] = _mm512_dpbusd_epi32(sum[t], _mm512_and_si512(_mm512_srli_epi16(z, 4), low), x1);
    }
  }
  UNROLL for (int t = 0; t < Tiles; ++t) _mm512_storeu_si512(sums + t * kTileRows, sum[t]);
}

void gemv_nibble(const std::uint8_t* block, int tiles, std::int64_t depth, const std::int8_t* q, std::int32_t* sums) {
  constexpr std::array kOf{gemv_nibble_of<1>, gemv_nibble_of<2>, gemv_nibble_of<3>, gemv_nibble_of<4>,
                           gemv_nibble_of<5>, gemv_nibble_of<6>, gemv_nibble_of<7>, gemv_nibble_of<8>};
  kOf[static_cast<std::size_t>(tiles - 1)](block, depth, q, sums);
}

template <int Tiles>
TARGET void gemv_byte_of(const std::uint8_t* block, std::int64_t depth, const std::int8_t* q, std::int32_t* sums) {
  __m512i sum[Tiles];
  UNROLL for (int t = 0; t < Tiles; ++t) sum[t] = _mm512_setzero_si512();
  for (std::int64_t k = 0; k < depth; k += 4, block += 64 * Tiles) {
    const __m512i x = broadcast(q + k);
    UNROLL for (int t = 0; t < Tiles; ++t) {
      _mm_prefetch(reinterpret_cast<const char*>(block) + 64 * t + kAhead, _MM_HINT_T0);
      sum[t] = _mm512_dpbusd_epi32(sum[t], load(block + 64 * t), x);
    }
  }
  UNROLL for (int t = 0; t < Tiles; ++t) _mm512_storeu_si512(sums + t * kTileRows, sum[t]);
}

void gemv_byte(const std::uint8_t* block, int tiles, std::int64_t depth, const std::int8_t* q, std::int32_t* sums) {
  constexpr std::array kOf{gemv_byte_of<1>, gemv_byte_of<2>, gemv_byte_of<3>, gemv_byte_of<4>,
                           gemv_byte_of<5>, gemv_byte_of<6>, gemv_byte_of<7>, gemv_byte_of<8>};
  kOf[static_cast<std::size_t>(tiles - 1)](block, depth, q, sums);
}

TARGET void expand_dense(const std::uint8_t* steps, int, std::int64_t columns, std::uint8_t* levels) {
  const Lookup lookup;
  for (std::int64_t k = 0; k < columns; k += 12, steps += 448, levels += 3 * Panel::kStride) {
    __m512i z[8];
    load_dense(steps, z);
    UNROLL for (int t = 0; t < 8; ++t) {
      UNROLL for (int d = 0; d < 3; ++d) _mm512_storeu_si512(levels + d * Panel::kStride + 64 * t, lookup.level(d, z[t]));
    }
  }
}

TARGET void expand_nibble(const std::uint8_t* steps, int tiles, std::int64_t columns, std::uint8_t* levels) {
  const __m512i low = _mm512_set1_epi8(15);
  for (std::int64_t k = 0; k < columns; k += 8, steps += 64 * tiles, levels += 2 * Panel::kStride) {
    for (int t = 0; t < tiles; ++t) {
      _mm_prefetch(reinterpret_cast<const char*>(steps) + 64 * t + kAhead, _MM_HINT_T0);
      const __m512i z = load(steps + 64 * t);
      _mm512_storeu_si512(levels + 64 * t, _mm512_and_si512(z, low));
      _mm512_storeu_si512(levels + Panel::kStride + 64 * t, _mm512_and_si512(_mm512_srli_epi16(z, 4), low));
    }
  }
}

TARGET void expand_byte(const std::uint8_t* steps, int tiles, std::int64_t columns, std::uint8_t* levels) {
  for (std::int64_t k = 0; k < columns; k += 4, steps += 64 * tiles, levels += Panel::kStride) {
    for (int t = 0; t < tiles; ++t) {
      _mm_prefetch(reinterpret_cast<const char*>(steps) + 64 * t + kAhead, _MM_HINT_T0);
      _mm512_storeu_si512(levels + 64 * t, load(steps + 64 * t));
    }
  }
}

// R tiles x T tokens of sums stay in registers over a panel. Not inlined: beside other code the compiler spills them.
template <int R, int T>
TARGET __attribute__((noinline)) void multiply_part(const Panel& panel, const std::int8_t* q, std::int64_t stride, bool first,
                                                    std::int32_t* sums) {
  __m512i sum[R][T];
  UNROLL for (int r = 0; r < R; ++r) {
    UNROLL for (int t = 0; t < T; ++t) sum[r][t] = first ? _mm512_setzero_si512() : load(sums + t * kBlockRows + r * kTileRows);
  }
  for (std::int64_t k = 0; k < panel.columns; k += 4) {
    __m512i w[R];
    UNROLL for (int r = 0; r < R; ++r) w[r] = load(panel.levels + k / 4 * Panel::kStride + 64 * r);
    UNROLL for (int t = 0; t < T; ++t) {
      const __m512i x = broadcast(q + t * stride + k);
      UNROLL for (int r = 0; r < R; ++r) sum[r][t] = _mm512_dpbusd_epi32(sum[r][t], w[r], x);
    }
  }
  UNROLL for (int r = 0; r < R; ++r) {
    UNROLL for (int t = 0; t < T; ++t) _mm512_storeu_si512(sums + t * kBlockRows + r * kTileRows, sum[r][t]);
  }
}

// Levels in the low bytes to digits in float32. Below 16 a level selects its digit in a register. Else the level becomes the last bits of the
// number 2^23, in steps of 1.
template <bool Below16>
struct FloatDigits {
  __m512 table;

  TARGET QUINTET_INLINE explicit FloatDigits(int offset)
      : table(_mm512_sub_ps(Below16 ? _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15) : _mm512_set1_ps(0x1p23F),
                            _mm512_set1_ps(static_cast<float>(Below16 ? offset : -offset)))) {}

  TARGET QUINTET_INLINE __m512 operator()(__m512i levels) const {
    if constexpr (Below16) return _mm512_permutexvar_ps(levels, table);
    constexpr int kAndOr = 0xEA;  // a & b | c
    const __m512i bits = _mm512_ternarylogic_epi32(levels, _mm512_set1_epi32(255), _mm512_castps_si512(_mm512_set1_ps(0x1p23F)), kAndOr);
    return _mm512_sub_ps(_mm512_castsi512_ps(bits), table);
  }
};

template <int R, int T, bool Below16>
TARGET __attribute__((noinline)) void multiply_float_part(const Panel& panel, const float* x, std::int64_t stride, bool first, float* sums) {
  const FloatDigits<Below16> digits(panel.offset);
  __m512 sum[R][T];
  UNROLL for (int r = 0; r < R; ++r) {
    UNROLL for (int t = 0; t < T; ++t) sum[r][t] = first ? _mm512_setzero_ps() : _mm512_loadu_ps(sums + t * kBlockRows + r * kTileRows);
  }
  for (std::int64_t k = 0; k < panel.columns; k += 4) {
    __m512i z[R];
    UNROLL for (int r = 0; r < R; ++r) z[r] = load(panel.levels + k / 4 * Panel::kStride + 64 * r);
    UNROLL for (int j = 0; j < 4; ++j) {
      __m512 w[R];
      UNROLL for (int r = 0; r < R; ++r) {
        w[r] = digits(z[r]);
        z[r] = _mm512_srli_epi32(z[r], 8);
      }
      UNROLL for (int t = 0; t < T; ++t) {
        const __m512 xt = _mm512_set1_ps(x[t * stride + k + j]);
        UNROLL for (int r = 0; r < R; ++r) sum[r][t] = _mm512_fmadd_ps(w[r], xt, sum[r][t]);
      }
    }
  }
  UNROLL for (int r = 0; r < R; ++r) {
    UNROLL for (int t = 0; t < T; ++t) _mm512_storeu_ps(sums + t * kBlockRows + r * kTileRows, sum[r][t]);
  }
}

template <int T>
void multiply_tokens(const Panel& panel, const std::int8_t* q, std::int64_t stride, bool first, std::int32_t* sums) {
  multiply_part<4, T>(panel, q, stride, first, sums);
}

template <int T>
void multiply_tokens(const Panel& panel, const float* x, std::int64_t stride, bool first, float* sums) {
  (panel.offset < 16 ? multiply_float_part<4, T, true> : multiply_float_part<4, T, false>)(panel, x, stride, first, sums);
}

// Four tiles at a time; the panel's space for 8 makes it harmless to compute tiles that the block does not have.
template <int T, class X, class Sum>
void multiply_rows(Panel panel, const X* x, std::int64_t stride, bool first, Sum* sums) {
  for (int tile = 0; tile < panel.tiles; tile += 4, panel.levels += 4 * 64, sums += 4 * kTileRows) {
    multiply_tokens<T>(panel, x, stride, first, sums);
  }
}

template <class X, class Sum>
void multiply_all(const Panel& panel, const X* x, std::int64_t stride, std::int64_t tokens, bool first, Sum* sums) {
  constexpr int kTokens = 6;  // 4 x 6 sums, 4 weights and an activation fill the 32 registers
  for (; tokens >= kTokens; tokens -= kTokens, x += kTokens * stride, sums += kTokens * kBlockRows) {
    multiply_rows<kTokens>(panel, x, stride, first, sums);
  }
  switch (tokens) {
    case 5: return multiply_rows<5>(panel, x, stride, first, sums);
    case 4: return multiply_rows<4>(panel, x, stride, first, sums);
    case 3: return multiply_rows<3>(panel, x, stride, first, sums);
    case 2: return multiply_rows<2>(panel, x, stride, first, sums);
    case 1: return multiply_rows<1>(panel, x, stride, first, sums);
    default: return;
  }
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

const Kernels kAvx512Kernels{peak, round, {gemv_nibble, gemv_dense, gemv_byte}, {expand_nibble, expand_dense, expand_byte}, multiply,
                             multiply_float, finish};

}  // namespace quintet
#endif
