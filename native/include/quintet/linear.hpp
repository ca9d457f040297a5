// y = x W^T + bias for a matrix W = scale[group, row] * digit[row, column] of weights in tiles. The columns fall into `groups` groups of
// the same length, each with scales of its own; mostly there is one.
#pragma once

#include <cstdint>

#include "quintet/tiles.hpp"

namespace quintet {

// A bfloat16 number: the upper half of a float32.
struct Bfloat16 {
  std::uint16_t bits;
};

// What happens to the activations.
enum class Activations {
  kFloat,  // nothing: products and sums in float32
  kInt8,   // each token t is rounded to q = round(x / s) with s = max|x| / 127; sums of q * digit are exact integers
};

struct Linear {
  Tiles weights;
  const float* scale;  // [groups, rows]
  const float* bias;   // [rows], or null
  std::int64_t groups = 1;  // divides the columns
};

// x[tokens, columns] -> y[tokens, rows], both row by row; at most `max_columns` of the form. The result does not depend on `threads`; with int8
// activations it is the same on every level, bit for bit: to the bias (where there is one) each group adds float(sum) * (s * scale), the first
// group first, each operation rounded to float32. A token that holds no finite maximum gives NaN.
template <class T>
void multiply(const Linear& linear, const T* x, std::int64_t tokens, Activations activations, int threads, T* y);

extern template void multiply(const Linear&, const float*, std::int64_t, Activations, int, float*);
extern template void multiply(const Linear&, const Bfloat16*, std::int64_t, Activations, int, Bfloat16*);

}  // namespace quintet
