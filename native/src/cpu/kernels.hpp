// What each level brings for the linear operation; `linear.cpp` puts the pieces together.
#pragma once

#include <cstdint>

#include "quintet/cpu.hpp"
#include "quintet/tiles.hpp"

namespace quintet {

// A token's activations in a group as int8: x is about scale * q, and `sum` is the sum of its q, which corrects for levels being digits + offset.
struct Token {
  float scale;
  std::int32_t sum;
};

// Some columns of a block, decoded: levels, one a byte, as [column / 4][tile of 8][lane]. The tiles beyond `tiles` hold anything.
struct Panel {
  static constexpr std::int64_t kColumns = 192;  // at most, in whole steps of each form: half of a 48 KiB L1 cache
  static constexpr std::int64_t kStride = 64 * kBlockTiles;
  static constexpr std::int64_t kBytes = kColumns / 4 * kStride;

  const std::uint8_t* levels;
  int tiles;
  std::int64_t columns;
  int offset;  // of the levels, see `offset_of`
};

// Sums of a block for several tokens: [token][kBlockRows].
using Gemv = void (*)(const std::uint8_t* block, int tiles, std::int64_t depth, const std::int8_t* q, std::int32_t* sums);
using Expand = void (*)(const std::uint8_t* steps, int tiles, std::int64_t columns, std::uint8_t* levels);

struct Kernels {
  // The largest |x|, at least 1e-30; NaN where a number is not finite.
  float (*peak)(const float* x, std::int64_t count);
  // q[i] = round(127 / peak * x[i]), or 0 where peak is NaN; returns the sum of q.
  std::int32_t (*round)(const float* x, std::int64_t count, float peak, std::int8_t* q);
  // sums[row] = sum over columns of level * q, for one token; by form (null where the level cannot).
  Gemv gemv[3];
  // Decodes whole steps that together have `columns` columns; by form.
  Expand expand[3];
  // sums[t][row] += (or = where `first`) the panel's levels times q[t]; tokens lie `stride` apart.
  void (*multiply)(const Panel& panel, const std::int8_t* q, std::int64_t stride, std::int64_t tokens, bool first, std::int32_t* sums);
  // The same with float activations, and digits instead of levels.
  void (*multiply_float)(const Panel& panel, const float* x, std::int64_t stride, std::int64_t tokens, bool first, float* sums);
  // y[row] = addend[row] + float(sums[row] - offset * token.sum) * (token.scale * scale[row]); the addend may be y, or null.
  void (*finish)(const std::int32_t* sums, std::int64_t rows, int offset, Token token, const float* scale, const float* addend, float* y);
};

extern const Kernels kScalarKernels;
#if defined(__x86_64__)
extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512Kernels;
#endif

}  // namespace quintet
