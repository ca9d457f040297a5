// Matrix products of operands that lie in tiles. Every element of a product is one chain of fused multiply-adds in the order of the
// reduction index, so that neither blocking, nor threads, nor the level change a bit of it.
#pragma once

#include <cstdint>

#include "vector.hpp"

namespace quintet::QUINTET_NAMESPACE {

constexpr int kPanelRows = 6;

// The left operand: element (row, k) with k = outer * (length of inner) + inner lies at data[row * row_step + outer * outer_step + inner *
// inner_step].
struct Left {
  const float* data;
  std::int64_t row_step, outer_step, inner_step;
};

// The right operand: element (k, column) lies at data[outer * outer_step + inner * inner_step + column].
struct Right {
  const float* data;
  std::int64_t outer_step, inner_step;
};

template <int rows, int vectors>
void panel_product(Left a, Right b, std::int64_t outer, std::int64_t inner, float* c, std::int64_t c_step, bool accumulate) {
  F16 sum[rows][vectors];
#pragma GCC unroll 6
  for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < vectors; ++j) sum[i][j] = accumulate ? load(c + i * c_step + 16 * j) : F16(0.0f);
  }
  for (std::int64_t o = 0; o < outer; ++o) {
    const float* p = a.data + o * a.outer_step;
    const float* q = b.data + o * b.outer_step;
    for (std::int64_t k = 0; k < inner; ++k, p += a.inner_step, q += b.inner_step) {
      F16 right[vectors];
#pragma GCC unroll 4
      for (int j = 0; j < vectors; ++j) right[j] = load(q + 16 * j);
#pragma GCC unroll 6
      for (int i = 0; i < rows; ++i) {
        const F16 left(p[i * a.row_step]);
#pragma GCC unroll 4
        for (int j = 0; j < vectors; ++j) sum[i][j] = fma(left, right[j], sum[i][j]);
      }
    }
  }
#pragma GCC unroll 6
  for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < vectors; ++j) store(c + i * c_step + 16 * j, sum[i][j]);
  }
}

using PanelProduct = void (*)(Left, Right, std::int64_t, std::int64_t, float*, std::int64_t, bool);

template <int rows>
PanelProduct panel_of(int vectors) {
  if constexpr (kPanelVectors == 1) {
    return panel_product<rows, 1>;
  } else {
    constexpr PanelProduct of[] = {panel_product<rows, 1>, panel_product<rows, 2>, panel_product<rows, 3>, panel_product<rows, 4>};
    return of[vectors - 1];
  }
}

inline PanelProduct panel_of(int rows, int vectors) {
  switch (rows) {
    case 1: return panel_of<1>(vectors);
    case 2: return panel_of<2>(vectors);
    case 3: return panel_of<3>(vectors);
    case 4: return panel_of<4>(vectors);
    case 5: return panel_of<5>(vectors);
    default: return panel_of<6>(vectors);
  }
}

// c[rows, 16 vectors] (+)= a[rows, outer x inner] b[outer x inner, 16 vectors], for any number of rows and vectors.
inline void product(Left a, Right b, std::int64_t outer, std::int64_t inner, std::int64_t rows, std::int64_t vectors, float* c,
                    std::int64_t c_step, bool accumulate) {
  const std::int64_t blocks = (rows + kPanelRows - 1) / kPanelRows;
  for (std::int64_t i = 0; i < blocks; ++i) {
    const std::int64_t first = rows * i / blocks, count = rows * (i + 1) / blocks - first;
    const Left part{a.data + first * a.row_step, a.row_step, a.outer_step, a.inner_step};
    for (std::int64_t v = 0; v < vectors; v += kPanelVectors) {
      const std::int64_t width = vectors - v < kPanelVectors ? vectors - v : kPanelVectors;
      const PanelProduct panel = panel_of(static_cast<int>(count), static_cast<int>(width));
      panel(part, {b.data + 16 * v, b.outer_step, b.inner_step}, outer, inner, c + first * c_step + 16 * v, c_step, accumulate);
    }
  }
}

}  // namespace quintet::QUINTET_NAMESPACE
