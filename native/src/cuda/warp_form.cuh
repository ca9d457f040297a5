// Where a code of the form "warp" lies; quintet/cuda/linear.hpp describes it.
#pragma once

#include "device.cuh"
#include "quintet/cuda/linear.hpp"

namespace quintet::cuda {

constexpr int kPieceCodes = kPieceColumns / kDigitsPerCode;  // of a row, and of a lane
constexpr int kLaneWords = 7;
constexpr int kZeroCode = 62;  // three digits 0

// Of a row of the packed form.
__device__ inline std::int64_t row_codes(std::int64_t columns) { return divide_up(columns, kDigitsPerCode); }
__device__ inline std::int64_t row_bytes(std::int64_t columns) { return divide_up(row_codes(columns) * kBitsPerCode, 8); }

// Place of word `word` of a lane among the words of a piece.
__device__ inline int word_place(int lane, int word) {
  return word < 4 ? 4 * lane + word : word < 6 ? 128 + 2 * lane + word - 4 : 192 + lane;
}

// The row and the code of that row, within the piece, that is a lane's code `i`.
__device__ inline int row_of_code(int lane, int i) { return lane / 4 + 8 * (i % 2) + 16 * (i / 4 % 2); }
__device__ inline int place_of_code(int lane, int i) { return 8 * (lane % 4) + 2 * (i / 8) + i / 2 % 2; }

// The code `place` of row `row` of a piece: the way back.
__device__ inline int code_in_piece(const unsigned* piece, int row, int place) {
  const int lane = 4 * (row % 8) + place / 8;
  const int i = 8 * (place % 8 / 2) + 4 * (row / 16) + 2 * (place % 2) + row / 8 % 2;
  const int bit = kBitsPerCode * i, word = bit / 32, shift = bit % 32;
  unsigned bits = piece[word_place(lane, word)] >> shift;
  if (shift > 32 - kBitsPerCode) bits |= piece[word_place(lane, word + 1)] << (32 - shift);
  return static_cast<int>(bits & 127);
}

__device__ inline int digit_of(int code, int which) { return (which == 0 ? code : which == 1 ? code / 5 : code / 25) % 5 - 2; }

// The digit of a matrix at a row and column.
__device__ inline int digit_at(const std::uint8_t* tiles, std::int64_t columns, std::int64_t row, std::int64_t column) {
  const std::int64_t pieces = divide_up(columns, kPieceColumns);
  const auto* piece = reinterpret_cast<const unsigned*>(tiles + (row / kPieceRows * pieces + column / kPieceColumns) * kPieceBytes);
  const int within = static_cast<int>(column % kPieceColumns);
  return digit_of(code_in_piece(piece, static_cast<int>(row % kPieceRows), within / kDigitsPerCode), within % kDigitsPerCode);
}

}  // namespace quintet::cuda
