// Sparse connections in which the 16 neurons of a column share their sources: B rows, K sources, M targets, F synapses a target.
//
//   y[b][i] = w[i][0] x[b][s[i / 16][0]] + ... + w[i][F - 1] x[b][s[i / 16][F - 1]]
//
// A column is then a small matrix product over rows of x that lie together once x is transposed. Every number is one chain of fused
// multiply-adds in a fixed order: results depend neither on the level of instructions nor on the number of threads.
#pragma once

#include <cstdint>

namespace quintet {

constexpr std::int64_t kColumn = 16;  // targets that share their sources

struct FanIn {
  std::int64_t batch, inputs, outputs, fan;  // fan: a multiple of 16
  const float* weight;                       // [M, F]
  const std::int32_t* sources;               // [ceil(M / 16), F], rising along each row
  const float* x;                            // [B, K]
  int threads;
};

// y [B, M].
void fan_in_forward(const FanIn& run, float* y);

// That of y comes in. That of the weights is added to, or written where `accumulate` is false; null where a gradient is not wanted.
struct FanInGradients {
  const float* y;
  float *weight, *x;
  bool accumulate;
};
void fan_in_backward(const FanIn& run, const FanInGradients& gradients);

}  // namespace quintet
