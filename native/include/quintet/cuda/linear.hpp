// 5-level weights on a GPU: their form there, and y = x W^T + bias from it. All pointers are to the device's memory but where it says so.
//
// The form "warp" (7/3 bits a weight) is a sequence of pieces of 32 rows x 96 columns, 896 bytes each: the pieces of the first 32 rows, then of the
// next. Rows and columns beyond the matrix hold digits 0. A code of 7 bits is three neighbours of a row, as in the packed form; a piece has 32
// codes of each row, and each of the 32 lanes of a warp has 32 of those 1024 codes, in 7 words of 32 bits, lowest bits first. They are just
// what the lane brings to 8 tensor-core products of 16 rows x 8 codes: with a fourth byte of 0, the digits of a code are one register of the
// operand A of mma.m16n8k32. Lane l has as its code i the code 8 (l % 4) + 2 (i / 8) + i / 2 % 2 of row l / 4 + 8 (i % 2) + 16 (i / 4 % 2). The first
// 512 bytes of a piece hold words 0..3 of each lane, the next 256 bytes words 4 and 5, the last 128 bytes word 6: three loads without gaps.
#pragma once

#include <cstdint>

#include "quintet/cuda/status.hpp"
#include "quintet/linear.hpp"

namespace quintet::cuda {

constexpr int kPieceRows = 32;
constexpr int kPieceColumns = 96;
constexpr int kPieceBytes = 896;

constexpr std::int64_t warp_bytes(std::int64_t rows, std::int64_t columns) {
  return divide_up(rows, kPieceRows) * divide_up(columns, kPieceColumns) * kPieceBytes;
}

// packed[rows, bytes_in_row(columns)] -> tiles[warp_bytes(rows, columns)]. Sets *fault to 1 where `unpack` would refuse a row, else leaves it.
Status tile(const std::uint8_t* packed, std::int64_t rows, std::int64_t columns, std::uint8_t* tiles, int* fault, void* stream);

// The digits again: digits[rows, columns].
Status untile(const std::uint8_t* tiles, std::int64_t rows, std::int64_t columns, std::int8_t* digits, void* stream);

struct WarpLinear {
  const std::uint8_t* tiles;
  std::int64_t rows, columns;
  const float* scale;  // [groups, rows]
  const float* bias;   // [rows], or null
  std::int64_t groups = 1;
};

// Bytes of device memory that `multiply` wants to work in.
std::int64_t workspace_bytes(std::int64_t tokens, std::int64_t columns, Activations activations);

// x[tokens, columns] -> y[tokens, rows]. With int8 activations the bytes are those of quintet::multiply on a CPU. At most kMostColumns.
constexpr std::int64_t kMostColumns = max_columns(Form::kDense);
template <class T>
Status multiply(const WarpLinear& linear, const T* x, std::int64_t tokens, Activations activations, void* workspace, T* y, void* stream);

extern template Status multiply(const WarpLinear&, const float*, std::int64_t, Activations, void*, float*, void*);
extern template Status multiply(const WarpLinear&, const Bfloat16*, std::int64_t, Activations, void*, Bfloat16*, void*);

// As quintet::lookup, from the packed form of every width. Raises *fault to 2 for an index outside the matrix (and writes nothing for it),
// to 1 for a number that is no code, else leaves it.
Status lookup(const std::uint8_t* packed, std::int64_t matrix_rows, std::int64_t columns, int levels, const float* scale, std::int64_t groups,
              const std::int64_t* indices, std::int64_t count, float* rows, int* fault, void* stream);

}  // namespace quintet::cuda
