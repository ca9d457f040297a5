// Portable kernels: what the formats mean, in plain loops.
#include <array>

#include "elementwise.hpp"

namespace quintet {
namespace {

int nibble(const std::uint8_t* step, int tile, int lane, int half) { return step[64 * tile + lane] >> 4 * half & 15; }

void gemv_nibble(const std::uint8_t* block, int tiles, std::int64_t depth, const std::int8_t* q, std::int32_t* sums) {
  for (int row = 0; row < tiles * kTileRows; ++row) sums[row] = 0;
  for (std::int64_t k = 0; k < depth; k += 8, block += 64 * tiles) {
    for (int row = 0; row < tiles * kTileRows; ++row) {
      for (int j = 0; j < 8; ++j) {
        sums[row] += nibble(block, row / kTileRows, 4 * (row % kTileRows) + j % 4, j / 4) * q[k + j];
      }
    }
  }
}

void expand_nibble(const std::uint8_t* steps, int tiles, std::int64_t columns, std::uint8_t* levels) {
  for (std::int64_t k = 0; k < columns; k += 8, steps += 64 * tiles) {
    for (int half = 0; half < 2; ++half, levels += Panel::kStride) {
      for (int lane = 0; lane < 64 * tiles; ++lane) levels[lane] = static_cast<std::uint8_t>(nibble(steps, 0, lane, half));
    }
  }
}

void gemv_byte(const std::uint8_t* block, int tiles, std::int64_t depth, const std::int8_t* q, std::int32_t* sums) {
  for (int row = 0; row < tiles * kTileRows; ++row) sums[row] = 0;
  for (std::int64_t k = 0; k < depth; k += 4, block += 64 * tiles) {
    for (int lane = 0; lane < 64 * tiles; ++lane) sums[lane / 4] += block[lane] * q[k + lane % 4];
  }
}

void expand_byte(const std::uint8_t* steps, int tiles, std::int64_t columns, std::uint8_t* levels) {
  for (std::int64_t k = 0; k < columns; k += 4, steps += 64 * tiles, levels += Panel::kStride) {
    std::memcpy(levels, steps, static_cast<std::size_t>(64 * tiles));
  }
}

// Sums over a panel for one token, in the type of the activations' products; `offset` is taken from each level.
template <class X, class Sum>
void multiply_token(const Panel& panel, int offset, const X* x, bool first, Sum* sums) {
  for (int row = 0; row < panel.tiles * kTileRows; ++row) {
    const std::uint8_t* levels = panel.levels + 4 * row;
    Sum sum = first ? Sum{0} : sums[row];
    for (std::int64_t k = 0; k < panel.columns; ++k) {
      sum += static_cast<Sum>(levels[k / 4 * Panel::kStride + k % 4] - offset) * static_cast<Sum>(x[k]);
    }
    sums[row] = sum;
  }
}

void multiply(const Panel& panel, const std::int8_t* q, std::int64_t stride, std::int64_t tokens, bool first, std::int32_t* sums) {
  for (std::int64_t t = 0; t < tokens; ++t) multiply_token(panel, 0, q + t * stride, first, sums + t * kBlockRows);
}

void multiply_float(const Panel& panel, const float* x, std::int64_t stride, std::int64_t tokens, bool first, float* sums) {
  for (std::int64_t t = 0; t < tokens; ++t) multiply_token(panel, panel.offset, x + t * stride, first, sums + t * kBlockRows);
}

float peak(const float* x, std::int64_t count) { return peak_of(x, count); }

std::int32_t round(const float* x, std::int64_t count, float largest, std::int8_t* q) { return round_row(x, count, largest, q); }

void finish(const std::int32_t* sums, std::int64_t rows, int offset, Token token, const float* scale, const float* addend, float* y) {
  finish_rows(sums, rows, offset, token, scale, addend, y);
}

}  // namespace

const Kernels kScalarKernels{peak, round, {gemv_nibble, nullptr, gemv_byte}, {expand_nibble, nullptr, expand_byte}, multiply, multiply_float, finish};

}  // namespace quintet
