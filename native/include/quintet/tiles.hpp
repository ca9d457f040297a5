// Weights in the order in which the kernels use them: made from the packed form when a model is loaded, never written to a file.
//
// A tile is 16 rows; 8 tiles (128 rows) are a block, the last block has as many tiles as it needs. Rows and columns beyond the matrix hold the
// level of the digit 0, and meet activations that are 0. Digits are stored as levels u = w + offset, none below 0. A block is a sequence of
// steps along the columns, and a step holds its tiles one after the other, so a block is read once from its beginning to its end. In what
// follows `lane` is 4 * row + j for a row 0..15 of the tile and a column j 0..3: the order in which a dot-product instruction takes bytes.
//
//   byte    (8 bits a weight)      Every width; offset 128. A step is 4 columns: 64 bytes a tile. Byte `lane` holds column j.
//   nibble  (4 bits a weight)      Digits from -8 to 7; offset 8. A step is 8 columns: 64 bytes a tile. Byte `lane` holds column j in its low,
//                                  column j + 4 in its high half.
//   dense   (7/3 bits a weight)    5 levels; offset 2. A step is 12 columns. Lane `lane` has the code c = u(j) + 5 u(j + 4) + 25 u(j + 8) of 7 bits. The first 7 tiles
//                                  take 64 bytes each, with the code in bits 0..6; bit 7 of tile i's bytes is bit i of the 8th tile's code: 448
//                                  bytes a step. All blocks are whole.
#pragma once

#include <cstdint>

#include "quintet/cpu.hpp"
#include "quintet/packing.hpp"

namespace quintet {

constexpr int kTileRows = 16;
constexpr int kBlockTiles = 8;
constexpr int kBlockRows = kTileRows * kBlockTiles;

enum class Form { kNibble, kDense, kByte };

// Tiled weights of a matrix.
struct Tiles {
  const std::uint8_t* data;
  Form form;
  std::int64_t rows;
  std::int64_t columns;
};

constexpr std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// What a form's levels exceed the digits by.
constexpr int offset_of(Form form) {
  switch (form) {
    case Form::kNibble: return 8;
    case Form::kDense: return 2;
    case Form::kByte: return 128;
  }
  return 0;
}

// Whether a form has room for digits of so many levels.
constexpr bool holds(Form form, int levels) {
  switch (form) {
    case Form::kNibble: return levels <= 16;
    case Form::kDense: return levels == 5;
    case Form::kByte: return true;
  }
  return false;
}

// The most columns for which 32-bit sums of 127 times a level cannot overflow, to a power of 2.
constexpr std::int64_t max_columns(Form form) {
  switch (form) {
    case Form::kNibble: return std::int64_t{1} << 20;
    case Form::kDense: return std::int64_t{1} << 22;
    case Form::kByte: return std::int64_t{1} << 16;
  }
  return 0;
}

constexpr std::int64_t step_columns(Form form) {
  switch (form) {
    case Form::kNibble: return 8;
    case Form::kDense: return 12;
    case Form::kByte: return 4;
  }
  return 0;
}

constexpr std::int64_t step_bytes(Form form, int tiles) { return form == Form::kDense ? 448 : 64 * tiles; }

// Columns with padding: what a block covers.
constexpr std::int64_t depth(Form form, std::int64_t columns) { return divide_up(columns, step_columns(form)) * step_columns(form); }

constexpr std::int64_t blocks(std::int64_t rows) { return divide_up(rows, kBlockRows); }

// Tiles in block `block` of a matrix of `rows` rows.
constexpr int tiles_in_block(Form form, std::int64_t rows, std::int64_t block) {
  const std::int64_t left = divide_up(rows, kTileRows) - block * kBlockTiles;
  return form == Form::kDense || left >= kBlockTiles ? kBlockTiles : static_cast<int>(left);
}

// Bytes from the beginning of a matrix to block `block`.
constexpr std::int64_t block_offset(Form form, std::int64_t columns, std::int64_t block) {
  return block * step_bytes(form, kBlockTiles) * divide_up(columns, step_columns(form));
}

constexpr std::int64_t tiled_bytes(Form form, std::int64_t rows, std::int64_t columns) {
  if (rows == 0) return 0;
  const std::int64_t last = blocks(rows) - 1;
  return block_offset(form, columns, last) + step_bytes(form, tiles_in_block(form, rows, last)) * divide_up(columns, step_columns(form));
}

// Whether the kernels of a level compute from a form: dense where there is a lookup in 128 bytes (AVX-512 VBMI).
constexpr bool computes(Level level, Form form) { return form != Form::kDense || level == Level::kAvx512; }

// packed[rows, bytes_in_row(columns, levels)] -> tiles[tiled_bytes(form, rows, columns)], for a form that holds `levels`. The first fault in
// `packed` stops it.
Fault tile(const std::uint8_t* packed, std::int64_t rows, std::int64_t columns, int levels, Form form, std::uint8_t* tiles);

// The digits again, one row after the other: digits[rows, columns].
void untile(const Tiles& tiles, std::int8_t* digits);

}  // namespace quintet
