#include "quintet/tiles.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <vector>

namespace quintet {
namespace {

// Levels of a block: 128 rows of `depth` bytes, padded with the level of 0.
class Levels {
 public:
  Levels(Form form, std::int64_t columns)
      : offset_(offset_of(form)), depth_(depth(form, columns)), bytes_(static_cast<std::size_t>(kBlockRows * depth_)) {}

  Fault read(const std::uint8_t* packed, std::int64_t rows, std::int64_t columns, int levels) {
    std::fill(bytes_.begin(), bytes_.end(), static_cast<std::uint8_t>(offset_));
    for (std::int64_t r = 0; r < rows; ++r, packed += bytes_in_row(columns, levels)) {
      auto* row = reinterpret_cast<std::int8_t*>(bytes_.data() + r * depth_);
      Fault fault = unpack(packed, 1, columns, levels, row);
      fault.row = r;
      if (fault) return fault;
      for (std::int64_t k = 0; k < columns; ++k) row[k] = static_cast<std::int8_t>(row[k] + offset_);
    }
    return {};
  }

  // Of row `lane / 4` of a tile, the column `lane % 4` counted from `column`.
  int at(int tile, int lane, std::int64_t column) const {
    return bytes_[static_cast<std::size_t>((tile * kTileRows + lane / 4) * depth_ + column + lane % 4)];
  }

 private:
  int offset_;
  std::int64_t depth_;
  std::vector<std::uint8_t> bytes_;
};

void write_bytes(const Levels& levels, int tiles, std::int64_t k, std::uint8_t* out) {
  for (int tile = 0; tile < tiles; ++tile) {
    for (int lane = 0; lane < 64; ++lane) *out++ = static_cast<std::uint8_t>(levels.at(tile, lane, k));
  }
}

void write_nibbles(const Levels& levels, int tiles, std::int64_t k, std::uint8_t* out) {
  for (int tile = 0; tile < tiles; ++tile) {
    for (int lane = 0; lane < 64; ++lane) {
      *out++ = static_cast<std::uint8_t>(levels.at(tile, lane, k) | levels.at(tile, lane, k + 4) << 4);
    }
  }
}

int code_at(const Levels& levels, int tile, int lane, std::int64_t k) {
  return levels.at(tile, lane, k) + 5 * levels.at(tile, lane, k + 4) + 25 * levels.at(tile, lane, k + 8);
}

void write_dense(const Levels& levels, std::int64_t k, std::uint8_t* out) {
  for (int lane = 0; lane < 64; ++lane) {
    const int spread = code_at(levels, kBlockTiles - 1, lane, k);
    for (int tile = 0; tile < kBlockTiles - 1; ++tile) {
      out[64 * tile + lane] = static_cast<std::uint8_t>(code_at(levels, tile, lane, k) | (spread >> tile & 1) << 7);
    }
  }
}

void write_step(Form form, const Levels& levels, int tiles, std::int64_t k, std::uint8_t* out) {
  switch (form) {
    case Form::kNibble: return write_nibbles(levels, tiles, k, out);
    case Form::kDense: return write_dense(levels, k, out);
    case Form::kByte: return write_bytes(levels, tiles, k, out);
  }
}

int code_in(const std::uint8_t* step, int tile, int lane) {
  if (tile < kBlockTiles - 1) return step[64 * tile + lane] & 127;
  int code = 0;
  for (int bit = 0; bit < kBitsPerCode; ++bit) code |= step[64 * bit + lane] >> 7 << bit;
  return code;
}

// Level of a lane's column `part` (0, 1 or 2) in groups of four, out of a step.
int level_in(Form form, const std::uint8_t* step, int tile, int lane, int part) {
  if (form == Form::kByte) return step[64 * tile + lane];
  if (form == Form::kNibble) return step[64 * tile + lane] >> 4 * part & 15;
  constexpr int kPower[kDigitsPerCode] = {1, 5, 25};
  return code_in(step, tile, lane) / kPower[part] % 5;
}

// Large pages save a tenth of the time where a matrix comes from main memory; the advice has no other effect.
void advise_large_pages(std::uint8_t* data, std::int64_t size) {
  constexpr std::uintptr_t page = 2 << 20;
  const auto begin = (reinterpret_cast<std::uintptr_t>(data) + page - 1) / page * page;
  const auto end = (reinterpret_cast<std::uintptr_t>(data) + static_cast<std::uintptr_t>(size)) / page * page;
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
}

}  // namespace

Fault tile(const std::uint8_t* packed, std::int64_t rows, std::int64_t columns, int levels, Form form, std::uint8_t* tiles) {
  advise_large_pages(tiles, tiled_bytes(form, rows, columns));
  Levels block_levels(form, columns);
  for (std::int64_t block = 0; block < blocks(rows); ++block) {
    const std::int64_t first = block * kBlockRows;
    const std::int64_t count = std::min<std::int64_t>(kBlockRows, rows - first);
    Fault fault = block_levels.read(packed + first * bytes_in_row(columns, levels), count, columns, levels);
    fault.row += first;
    if (fault) return fault;
    const int tile_count = tiles_in_block(form, rows, block);
    std::uint8_t* out = tiles + block_offset(form, columns, block);
    for (std::int64_t k = 0; k < columns; k += step_columns(form), out += step_bytes(form, tile_count)) {
      write_step(form, block_levels, tile_count, k, out);
    }
  }
  return {};
}

void untile(const Tiles& tiles, std::int8_t* digits) {
  for (std::int64_t row = 0; row < tiles.rows; ++row) {
    const std::int64_t block = row / kBlockRows;
    const int tile = static_cast<int>(row % kBlockRows / kTileRows);
    const std::int64_t bytes = step_bytes(tiles.form, tiles_in_block(tiles.form, tiles.rows, block));
    const std::uint8_t* begin = tiles.data + block_offset(tiles.form, tiles.columns, block);
    for (std::int64_t k = 0; k < tiles.columns; ++k) {
      const std::int64_t step = k / step_columns(tiles.form), within = k % step_columns(tiles.form);
      const int lane = static_cast<int>(4 * (row % kTileRows) + within % 4);
      const int level = level_in(tiles.form, begin + step * bytes, tile, lane, static_cast<int>(within / 4));
      *digits++ = static_cast<std::int8_t>(level - offset_of(tiles.form));
    }
  }
}

}  // namespace quintet
