// The packed form on a GPU: to the form "warp" and back to digits, and rows looked up.
#include "device.cuh"
#include "quintet/cuda/linear.hpp"
#include "quintet/packing.hpp"
#include "warp_form.cuh"

namespace quintet::cuda {
namespace {

constexpr int kThreads = 256;

unsigned blocks_for(std::int64_t threads) { return static_cast<unsigned>(divide_up(threads, kThreads)); }

__device__ std::int64_t thread_index() { return std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x; }

// Code `index` of a packed row: up to 17 bits.
__device__ int code_in_row(const std::uint8_t* row, std::int64_t bytes, std::int64_t index, int bits) {
  const std::int64_t bit = index * bits, byte = bit / 8;
  unsigned word = 0;
  for (int i = 0; i < 4 && byte + i < bytes; ++i) word |= static_cast<unsigned>(row[byte + i]) << 8 * i;
  return static_cast<int>(word >> bit % 8 & ((1U << bits) - 1));
}

// Whether a row's last code and the bits after it are what `unpack` accepts.
__device__ bool good_end(const std::uint8_t* row, std::int64_t columns) {
  const std::int64_t codes = row_codes(columns), bytes = row_bytes(columns);
  const int code = code_in_row(row, bytes, codes - 1, kBitsPerCode);
  for (int i = static_cast<int>(columns - (codes - 1) * kDigitsPerCode); i < kDigitsPerCode; ++i) {
    if (digit_of(code, i) != 0) return false;
  }
  const int used = static_cast<int>(codes * kBitsPerCode % 8);
  return used == 0 || row[bytes - 1] >> used == 0;
}

// A thread for each lane of each piece.
__global__ void tile_kernel(const std::uint8_t* packed, std::int64_t rows, std::int64_t columns, unsigned* tiles, std::int64_t lanes, int* fault) {
  const std::int64_t index = thread_index();
  if (index >= lanes) return;
  const std::int64_t piece = index / 32, pieces = divide_up(columns, kPieceColumns);
  const std::int64_t codes = row_codes(columns), bytes = row_bytes(columns);
  const int lane = static_cast<int>(index % 32);
  std::uint64_t bits = 0;
  int held = 0, word = 0;
  for (int i = 0; i < kPieceCodes; ++i) {
    const std::int64_t row = piece / pieces * kPieceRows + row_of_code(lane, i), at = piece % pieces * kPieceCodes + place_of_code(lane, i);
    int code = kZeroCode;
    if (row < rows && at < codes) {
      code = code_in_row(packed + row * bytes, bytes, at, kBitsPerCode);
      if (code >= kCodes || (at == codes - 1 && !good_end(packed + row * bytes, columns))) *fault = 1;
    }
    bits |= static_cast<std::uint64_t>(code) << held;
    held += kBitsPerCode;
    if (held < 32) continue;
    tiles[piece * (kPieceBytes / 4) + word_place(lane, word++)] = static_cast<unsigned>(bits);
    bits >>= 32;
    held -= 32;
  }
}

__global__ void untile_kernel(const std::uint8_t* tiles, std::int64_t rows, std::int64_t columns, std::int8_t* digits) {
  const std::int64_t index = thread_index();
  if (index < rows * columns) digits[index] = static_cast<std::int8_t>(digit_at(tiles, columns, index / columns, index % columns));
}

struct Lookup {
  const std::uint8_t* packed;
  std::int64_t matrix_rows, columns, bytes, groups;
  Code code;
  const float* scale;
  const std::int64_t* indices;
  std::int64_t count;
};

// A thread for each code of each row.
__global__ void lookup_kernel(Lookup from, float* rows, int* fault) {
  const std::int64_t codes = divide_up(from.columns, from.code.digits), index = thread_index();
  if (index >= from.count * codes) return;
  const std::int64_t i = index / codes, at = index % codes, row = from.indices[i];
  if (row < 0 || row >= from.matrix_rows) {
    atomicMax(fault, 2);
    return;
  }
  int code = code_in_row(from.packed + row * from.bytes, from.bytes, at, from.code.bits);
  if (code >= from.code.limit()) atomicMax(fault, 1);
  for (std::int64_t k = at * from.code.digits; k < min((at + 1) * from.code.digits, from.columns); ++k) {
    const int digit = code % from.code.levels - from.code.offset();
    code /= from.code.levels;
    rows[i * from.columns + k] = static_cast<float>(digit) * from.scale[row * from.groups + k / (from.columns / from.groups)];
  }
}

}  // namespace

Status tile(const std::uint8_t* packed, std::int64_t rows, std::int64_t columns, std::uint8_t* tiles, int* fault, void* stream) {
  const std::int64_t lanes = warp_bytes(rows, columns) / kPieceBytes * 32;
  return launch(tile_kernel, blocks_for(lanes), kThreads, 0, stream, packed, rows, columns, reinterpret_cast<unsigned*>(tiles), lanes, fault);
}

Status untile(const std::uint8_t* tiles, std::int64_t rows, std::int64_t columns, std::int8_t* digits, void* stream) {
  return launch(untile_kernel, blocks_for(rows * columns), kThreads, 0, stream, tiles, rows, columns, digits);
}

Status lookup(const std::uint8_t* packed, std::int64_t matrix_rows, std::int64_t columns, int levels, const float* scale, std::int64_t groups,
              const std::int64_t* indices, std::int64_t count, float* rows, int* fault, void* stream) {
  const Lookup from{packed, matrix_rows, columns, bytes_in_row(columns, levels), groups, code_of(levels), scale, indices, count};
  const std::int64_t threads = count * codes_in_row(columns, levels);
  return launch(lookup_kernel, blocks_for(threads), kThreads, 0, stream, from, rows, fault);
}

}  // namespace quintet::cuda
