// How rows of neurons lie in memory: tiles of up to 64 columns, [tiles, rows, width], so that products read and write whole cache lines.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "buffer.hpp"
#include "product.hpp"
#include "quintet/pool.hpp"
#include "quintet/recurrent.hpp"

namespace quintet::QUINTET_NAMESPACE {

constexpr std::int64_t kRowsInBlock = 6;

struct Tiles {
  std::int64_t rows, columns, width, count, slot;

  explicit Tiles(const RecurrentRun& run) : rows(run.batch), columns(run.neurons) {
    const RecurrentShape shape = shape_of(run);
    width = shape.width;
    count = shape.tiles;
    slot = shape.slot;
  }

  std::int64_t step() const { return rows * width; }     // from a tile to the next of the same row
  std::int64_t padded() const { return count * width; }  // columns with those that fill the last tile
  std::int64_t columns_in(std::int64_t tile) const { return std::min(width, columns - tile * width); }
  std::int64_t vectors_in(std::int64_t tile) const { return (columns_in(tile) + 15) / 16; }

  // Threads take whole blocks of rows; sums over rows are made block by block, so they do not depend on who took which.
  std::int64_t blocks() const { return (rows + kRowsInBlock - 1) / kRowsInBlock; }
  std::int64_t first_row(std::int64_t block) const { return std::min(rows, block * kRowsInBlock); }
  static std::int64_t block_of(std::int64_t row) { return row / kRowsInBlock; }
};

// A bit for each lane of vector `v` that holds a column.
inline Lanes lanes_of(std::int64_t columns, std::int64_t v) {
  const std::int64_t left = columns - 16 * v;
  return left >= 16 ? Lanes{0xFFFF} : static_cast<Lanes>((1u << left) - 1);
}

// Calls visit(offset in the tiles from the row's beginning, first column, columns) for each tile of a row.
template <class Visit>
inline void each_tile(const Tiles& tiles, Visit visit) {
  for (std::int64_t i = 0; i < tiles.count; ++i) visit(i * tiles.step(), i * tiles.width, tiles.columns_in(i));
}

// A row of a plain matrix into its tiles (what lies beyond the last column becomes zero), and back.
inline void spread_row(const Tiles& tiles, const float* plain, float* row) {
  each_tile(tiles, [&](std::int64_t offset, std::int64_t column, std::int64_t count) {
    std::copy_n(plain + column, count, row + offset);
    std::fill_n(row + offset + count, tiles.width - count, 0.0f);
  });
}
inline void gather_row(const Tiles& tiles, const float* row, float* plain) {
  each_tile(tiles, [&](std::int64_t offset, std::int64_t column, std::int64_t count) { std::copy_n(row + offset, count, plain + column); });
}

// A square matrix as right operand: panel i holds its columns i * width ..., [N, width].
class Panels {
 public:
  // diag(gain) W, or its transpose; gain null: W. The reduction of a product runs over the rows of what is packed.
  Panels(const Tiles& tiles, const float* weight, const float* gain, bool transposed, int threads)
      : tiles_(tiles), data_(tiles.count * tiles.columns * tiles.width) {
    parallel(threads, tiles.count, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) transposed ? pack_transposed(i, weight, gain) : pack(i, weight, gain);
    });
  }

  // target[rows first..last) = source[rows first..last) times the matrix; both in tiles.
  void multiply(const float* source, float* target, std::int64_t first, std::int64_t last) const {
    const std::int64_t width = tiles_.width, whole = tiles_.columns / width, rest = tiles_.columns % width;
    for (std::int64_t i = 0; i < tiles_.count; ++i) {
      const float* panel = data_.get() + i * tiles_.columns * width;
      float* to = target + i * tiles_.step() + first * width;
      const Left left{source + first * width, width, tiles_.step(), 1};
      const std::int64_t vectors = tiles_.vectors_in(i);
      for (std::int64_t k = 0; k < whole; k += kTilesAtOnce) {
        const Left part{left.data + k * tiles_.step(), width, tiles_.step(), 1};
        const std::int64_t count = std::min(kTilesAtOnce, whole - k);
        product(part, {panel + k * width * width, width * width, width}, count, width, last - first, vectors, to, width, k > 0);
      }
      if (rest == 0) continue;
      const Left part{left.data + whole * tiles_.step(), width, 0, 1};
      product(part, {panel + whole * width * width, 0, width}, 1, rest, last - first, vectors, to, width, whole > 0);
    }
  }

 private:
  static constexpr std::int64_t kTilesAtOnce = 16;  // 1024 rows of a panel are 256 KiB: a part of the second-level cache

  void pack(std::int64_t i, const float* weight, const float* gain) {
    const std::int64_t count = tiles_.columns_in(i);
    float* to = data_.get() + i * tiles_.columns * tiles_.width;
    for (std::int64_t k = 0; k < tiles_.columns; ++k, to += tiles_.width) {
      const float* from = weight + k * tiles_.columns + i * tiles_.width;
      const float scale = gain == nullptr ? 1.0f : gain[k];
      for (std::int64_t j = 0; j < count; ++j) to[j] = from[j] * scale;
      std::fill_n(to + count, tiles_.width - count, 0.0f);
    }
  }

  // Square pieces of 16 stay in the first-level cache while they are turned.
  void pack_transposed(std::int64_t i, const float* weight, const float* gain) {
    const std::int64_t n = tiles_.columns, width = tiles_.width, count = tiles_.columns_in(i);
    float* to = data_.get() + i * n * width;
    if (count < width) std::fill_n(to, n * width, 0.0f);
    for (std::int64_t k = 0; k < n; k += 16) {
      const std::int64_t depth = std::min<std::int64_t>(16, n - k);
      for (std::int64_t j = 0; j < count; ++j) {
        const float* from = weight + (i * width + j) * n + k;
        const float scale = gain == nullptr ? 1.0f : gain[i * width + j];
        for (std::int64_t l = 0; l < depth; ++l) to[(k + l) * width + j] = from[l] * scale;
      }
    }
  }

  const Tiles tiles_;
  Buffer<float> data_;
};

}  // namespace quintet::QUINTET_NAMESPACE
