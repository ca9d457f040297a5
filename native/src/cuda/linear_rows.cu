// The linear operation for what the tensor cores' kernel has no place for: activations that stay floats, and scales of several groups. A warp
// takes a row, its lanes the columns of a group; sums are made in the same order each time.
#include <type_traits>

#include "linear.cuh"
#include "quantize.cuh"
#include "warp_form.cuh"

namespace quintet::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kTokens = 4;  // that share a decoded digit

template <class T>
struct Rows {
  WarpLinear linear;
  const T* x;
  Quantized q;
  std::int64_t tokens;
  T* y;
};

__device__ int activation(const Quantized& q, std::int64_t token, std::int64_t columns, std::int64_t k) {
  const int word = q.words[token * words_of_token(columns) + k / kDigitsPerCode];
  return static_cast<std::int8_t>(static_cast<unsigned>(word) >> 8 * (k % kDigitsPerCode) & 0xFF);
}

template <class Sum>
__device__ Sum warp_sum(Sum sum) {
  for (int bits = 16; bits > 0; bits /= 2) sum += __shfl_xor_sync(~0U, sum, bits);
  return sum;
}

// The sums over columns begin..end for tokens first..first + count, in every lane.
template <class Sum, class T>
__device__ void sum_group(const Rows<T>& p, std::int64_t row, std::int64_t begin, std::int64_t end, std::int64_t first, int count,
                          Sum (&sums)[kTokens]) {
  for (Sum& sum : sums) sum = 0;
  for (std::int64_t k = begin + threadIdx.x % 32; k < end; k += 32) {
    const int digit = digit_at(p.linear.tiles, p.linear.columns, row, k);
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
      if (t >= count) continue;
      if constexpr (std::is_same_v<Sum, int>) {
        sums[t] += digit * activation(p.q, first + t, p.linear.columns, k);
      } else {
        sums[t] = fmaf(static_cast<float>(digit), value_of(p.x[(first + t) * p.linear.columns + k]), sums[t]);
      }
    }
  }
#pragma unroll
  for (int t = 0; t < kTokens; ++t) sums[t] = warp_sum(sums[t]);
}

template <class Sum, class T>
__global__ void rows_kernel(Rows<T> p) {
  const std::int64_t row = std::int64_t{blockIdx.x} * kWarps + threadIdx.x / 32, first = std::int64_t{blockIdx.y} * kTokens;
  if (row >= p.linear.rows) return;
  const int count = static_cast<int>(min(p.tokens - first, std::int64_t{kTokens}));
  const std::int64_t size = p.linear.columns / p.linear.groups;
  float results[kTokens] = {};
  for (std::int64_t group = 0; group < p.linear.groups; ++group) {
    Sum sums[kTokens];
    sum_group(p, row, group * size, (group + 1) * size, first, count, sums);
    const float scale = p.linear.scale[group * p.linear.rows + row];
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
      if (t >= count) continue;
      const float factor = p.q.words != nullptr ? __fmul_rn(p.q.scale[first + t], scale) : scale;
      const float part = __fmul_rn(static_cast<float>(sums[t]), factor);
      if (group > 0) results[t] = __fadd_rn(results[t], part);
      else results[t] = p.linear.bias == nullptr ? part : __fadd_rn(p.linear.bias[row], part);
    }
  }
  if (threadIdx.x % 32 != 0) return;
  for (int t = 0; t < count; ++t) store(results[t], p.y + (first + t) * p.linear.rows + row);
}

}  // namespace

template <class T>
Status multiply_by_rows(const WarpLinear& linear, const T* x, const Quantized& q, std::int64_t tokens, T* y, void* stream) {
  const dim3 grid(static_cast<unsigned>(divide_up(linear.rows, kWarps)), static_cast<unsigned>(divide_up(tokens, kTokens)));
  const Rows<T> p{linear, x, q, tokens, y};
  return q.words != nullptr ? launch(rows_kernel<int, T>, grid, 32 * kWarps, 0, stream, p) : launch(rows_kernel<float, T>, grid, 32 * kWarps, 0, stream, p);
}

template Status multiply_by_rows(const WarpLinear&, const float*, const Quantized&, std::int64_t, float*, void*);
template Status multiply_by_rows(const WarpLinear&, const Bfloat16*, const Quantized&, std::int64_t, Bfloat16*, void*);

}  // namespace quintet::cuda
