// Packed weights of L levels: the canonical form, as it lies in files.
//
// A matrix of digits w, whole numbers from -(L / 2) on (5 levels: -2..2; 4: -2..1; 256: -128..127), with R rows and K columns is stored row by
// row:
//
//   1. A row is padded with digits 0 to a multiple of D digits.
//   2. Each D neighbours make one code, the sum of (w_i + L / 2) L^i: a number below L^D. Larger numbers are no codes.
//   3. A row's codes follow each other in B bits each, the first in the lowest bits of the first byte (little-endian bit order).
//   4. A row ends at a whole byte; the bits left over are zero. So it takes ceil(B ceil(K / D) / 8) bytes, and row r begins at r times that.
//
//   levels L           3      4      5      7      9      15     256
//   digits a code D    5      1      3      6      5      2      1
//   bits a code B      8      2      7      17     16     8      8
//   bits a weight      1.600  2      2.333  2.833  3.200  4      8
//   log2 L             1.585  2      2.322  2.807  3.170  3.907  8
//
// One matrix of digits has exactly one packed form: `unpack` refuses anything else.
#pragma once

#include <array>
#include <cstdint>

namespace quintet {

// `digits` digits of `levels` levels make a code of `bits` bits.
struct Code {
  int levels, digits, bits;

  // The lowest digit is -offset().
  constexpr int offset() const { return levels / 2; }

  // Codes are below it.
  constexpr int limit() const {
    int power = 1;
    for (int i = 0; i < digits; ++i) power *= levels;
    return power;
  }
};

constexpr std::array<Code, 7> kWidths{{{3, 5, 8}, {4, 1, 2}, {5, 3, 7}, {7, 6, 17}, {9, 5, 16}, {15, 2, 8}, {256, 1, 8}}};

// The code of so many levels; one of 0 levels where there is none.
constexpr Code code_of(int levels) {
  for (const Code& code : kWidths) {
    if (code.levels == levels) return code;
  }
  return {0, 0, 0};
}

// The code of 5 levels, of which the dense tiles are made too.
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

// In what follows `levels` is one of `kWidths`.
constexpr std::int64_t codes_in_row(std::int64_t columns, int levels = 5) {
  const Code code = code_of(levels);
  return (columns + code.digits - 1) / code.digits;
}

constexpr std::int64_t bytes_in_row(std::int64_t columns, int levels = 5) {
  return (codes_in_row(columns, levels) * code_of(levels).bits + 7) / 8;
}

// digits[rows, columns] -> packed[rows, bytes_in_row(columns, levels)]. The first number that is no digit stops it.
Fault pack(const std::int8_t* digits, std::int64_t rows, std::int64_t columns, int levels, std::uint8_t* packed);

// packed[rows, bytes_in_row(columns, levels)] -> digits[rows, columns]. The first row that holds no code, or padding that is not zero, stops it.
Fault unpack(const std::uint8_t* packed, std::int64_t rows, std::int64_t columns, int levels, std::int8_t* digits);

// rows[count, columns] = scale[i, group] * digits of row i of packed[matrix_rows, ...], for each i in indices[count]; scale is
// [matrix_rows, groups], and a group columns / groups neighbours. An index outside the matrix stops it (`row` is its place in `indices`, `column`
// the index), as does a row that `unpack` refuses.
Fault lookup(const std::uint8_t* packed, std::int64_t matrix_rows, std::int64_t columns, int levels, const float* scale, std::int64_t groups,
             const std::int64_t* indices, std::int64_t count, float* rows);

}  // namespace quintet
