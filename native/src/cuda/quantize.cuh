// A token's activations as int8, by one block: the same numbers as a CPU's, bit for bit.
#pragma once

#include <cfloat>

#include "device.cuh"
#include "quintet/linear.hpp"
#include "warp_form.cuh"

namespace quintet::cuda {

__device__ inline float value_of(float x) { return x; }
__device__ inline float value_of(Bfloat16 x) { return from_bf16(x.bits); }
__device__ inline void store(float y, float* to) { *to = y; }
__device__ inline void store(float y, Bfloat16* to) { to->bits = to_bf16(y); }

// Words of a token: three neighbouring activations and a byte of 0 each, of whole pieces. The 4 words more put the tokens that the lanes of a
// warp read at once in different banks of shared memory.
__host__ __device__ constexpr std::int64_t words_of_token(std::int64_t columns) { return divide_up(columns, kPieceColumns) * kPieceCodes + 4; }

// The largest of the block's values, none below 0; `scratch` has a number for each warp.
__device__ inline int block_max(int value, int* scratch) {
  for (int bits = 16; bits > 0; bits /= 2) value = max(value, __shfl_xor_sync(~0U, value, bits));
  __syncthreads();  // of what `scratch` held before
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = value;
  __syncthreads();
  for (unsigned i = 0; i < blockDim.x / 32; ++i) value = max(value, scratch[i]);
  return value;
}

// words[words_of_token(columns)] of q = round(x / s); returns s = max|x| / 127, or NaN (and q = 0) where a number is not finite. All threads call
// it; other threads' words are there after a barrier.
template <class T>
__device__ float quantize_token(const T* x, std::int64_t columns, int* words, int* scratch) {
  // The bits of |x| order as the numbers do, with NaN above infinity.
  int bits = 0;
  for (std::int64_t k = threadIdx.x; k < columns; k += blockDim.x) bits = max(bits, __float_as_int(value_of(x[k])) & 0x7FFFFFFF);
  const float largest = __int_as_float(block_max(bits, scratch));
  const bool finite = largest <= FLT_MAX;
  const float peak = fmaxf(largest, 1e-30F), inverse = finite ? __fdiv_rn(127.0F, peak) : 0.0F;
  for (std::int64_t w = threadIdx.x; w < words_of_token(columns); w += blockDim.x) {
    unsigned word = 0;
    for (int i = 0; i < kDigitsPerCode; ++i) {
      const std::int64_t k = kDigitsPerCode * w + i;
      const int q = finite && k < columns ? __float2int_rn(__fmul_rn(value_of(x[k]), inverse)) : 0;
      word |= (static_cast<unsigned>(q) & 0xFF) << 8 * i;
    }
    words[w] = static_cast<int>(word);
  }
  return finite ? __fdiv_rn(peak, 127.0F) : __int_as_float(0x7FC00000);
}

}  // namespace quintet::cuda
