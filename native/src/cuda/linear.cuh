// The kernels of the linear operation, as linear.cu puts them together.
#pragma once

#include "device.cuh"
#include "quintet/cuda/linear.hpp"

namespace quintet::cuda {

// Tokens as int8: words_of_token(columns) words each, and their scales.
struct Quantized {
  const int* words;
  const float* scale;
};

// Any number of groups, one scale or more, from int8 activations or (where there are none) from x itself: each warp has a row.
template <class T>
Status multiply_by_rows(const WarpLinear& linear, const T* x, const Quantized& q, std::int64_t tokens, T* y, void* stream);

extern template Status multiply_by_rows(const WarpLinear&, const float*, const Quantized&, std::int64_t, float*, void*);
extern template Status multiply_by_rows(const WarpLinear&, const Bfloat16*, const Quantized&, std::int64_t, Bfloat16*, void*);

}  // namespace quintet::cuda
