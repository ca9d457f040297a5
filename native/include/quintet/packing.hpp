// Packed 5-level weights: the canonical form, as it lies in files.
//
// A matrix of digits w in {-2, -1, 0, 1, 2} with R rows and K columns is stored row by row:
//
//   1. A row is padded with zeros (digit 0) to a multiple of 3 digits.
//   2. Each three neighbours w0, w1, w2 make one code c = (w0 + 2) + 5 (w1 + 2) + 25 (w2 + 2), a number from 0 to 124; 125..127 are no codes.
//   3. A row's codes follow each other in 7 bits each, the first in the lowest bits of the first byte (little-endian bit order).
//   4. A row ends at a whole byte; the bits left over are zero. So it takes ceil(7 ceil(K / 3) / 8) bytes, and row r begins at r times that.
//
// 7/3 = 2.333 bits a weight, 0.5 % above log2(5) = 2.322. One matrix of digits has exactly one packed form: `unpack` refuses anything else.
#pragma once

#include <cstdint>

namespace quintet {

constexpr int kDigitsPerCode = 3;
constexpr int kBitsPerCode = 7;
constexpr int kCodes = 125;

// What is wrong with an element of the input, and where. `column` counts the elements of the array that was read (digits or bytes).
struct Fault {
  enum class Kind { kNone, kDigit, kCode, kPadding, kIndex };
  Kind kind = Kind::kNone;
  std::int64_t row = 0;
  std::int64_t column = 0;
  int value = 0;

  explicit operator bool() const { return kind != Kind::kNone; }
};

constexpr std::int64_t codes_in_row(std::int64_t columns) { return (columns + kDigitsPerCode - 1) / kDigitsPerCode; }

constexpr std::int64_t bytes_in_row(std::int64_t columns) { return (codes_in_row(columns) * kBitsPerCode + 7) / 8; }

// digits[rows, columns] -> packed[rows, bytes_in_row(columns)]. The first digit outside -2..2 stops it.
Fault pack(const std::int8_t* digits, std::int64_t rows, std::int64_t columns, std::uint8_t* packed);

// packed[rows, bytes_in_row(columns)] -> digits[rows, columns]. The first row that holds no code, or padding that is not zero, stops it.
Fault unpack(const std::uint8_t* packed, std::int64_t rows, std::int64_t columns, std::int8_t* digits);

// rows[count, columns] = scale[i] * digits of row i of packed[matrix_rows, ...], for each i in indices[count]. An index outside the matrix
// stops it (`row` is its place in `indices`, `column` the index), as does a row that `unpack` refuses.
Fault lookup(const std::uint8_t* packed, std::int64_t matrix_rows, std::int64_t columns, const float* scale, const std::int64_t* indices,
             std::int64_t count, float* rows);

}  // namespace quintet
