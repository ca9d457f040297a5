// The recurrent run of quintet/recurrent.hpp on a CUDA device: the same function, masks of dropout included; floating-point sums are taken in
// an order of its own, the same in every call on a kind of device.
//
// One cooperative launch makes all steps of a span, with one meeting of the grid a step. Where W fits, each block keeps its columns of it in
// shared memory for the whole span (where it does not, they come through the caches at each step); products are float32 multiply-adds, no
// tensor cores, so that results are as near to the definition as the CPU's. A block leaves the sum of squares of its columns beside its d, and
// whoever reads d adds up the blocks' sums in their order: RMSNorm needs no meeting of its own, and no atomic addition.
#pragma once

#include <cstdint>

#include "quintet/cuda/status.hpp"
#include "quintet/recurrent.hpp"

namespace quintet::cuda {

// Columns of a row of neurons in the kernels' own arrays, which are zero after the last neuron: P.
constexpr std::int64_t padded(std::int64_t neurons) { return neurons < 64 ? (neurons + 15) / 16 * 16 : (neurons + 63) / 64 * 64; }

// Partial sums that a span needs for each row.
constexpr std::int64_t partial_sums(std::int64_t neurons) { return 2 * (padded(neurons) / 16); }

// Steps [from, to) of a run. All pointers are to the device's memory.
struct RecurrentSpan {
  RecurrentRun run;  // `places`, `segment` and `threads` are not looked at: whoever calls cuts a run into spans
  std::int64_t from, to;
  // Neuron n gets the inputs order[first[n]] ... order[first[n + 1] - 1]. Both null: input n.
  const std::int64_t* order;  // [inputs]
  const std::int64_t* first;  // [N + 1]
  const float* before;        // [B, P] d of step from - 1, null for from = 0
  float* scales;              // [T, B] r of each step
  float* partials;            // [B, partial_sums(N)], any content
};

// What the forward pass gives out of its span: d of step t at slot (t - from) % slots of `values` [slots, B, P], enough for the
// span or two; s of each step at `sums` [to - from, B, P]; `final` [B, N] where the run ends here; `states` [B, T / collect, N]. The last
// three may be null.
struct RecurrentOutputs {
  float* values;
  std::int64_t slots;
  float* sums;
  float* final;
  float* states;
};
Status recurrent_forward(const RecurrentSpan& span, const RecurrentOutputs& to, void* stream);

// Whether the backward pass reads s (else d) of each step.
constexpr bool needs_sums(Activation f) { return f == Activation::kGelu || f == Activation::kSilu; }

struct RecurrentErrors {
  const float* transposed;  // [N, N] W with rows and columns exchanged
  const float* kept;        // [to - from, B, P] s or d of each step
  const float* final;       // [B, N] and [B, T / collect, N]: gradients from outside, null: zero
  const float* states;
  float* carried;   // [B, P] gradient of the state after the span by way of the later steps; becomes that of the state before the span
  float* gains;     // [B, P] += what the gain gets from each row
  float* errors;    // [to - from, B, P] gradient of s of each step; the first `entering` h, which begins with the second step's:
  float* entering;  // [to - from, B, P] the state that enters each step, but for the first. W's gradient is the sum of entering^T errors
  float* drive;     // [S, B, P] += errors of the steps that a frame enters at
  float* products;  // [4, B, P], any content
};
Status recurrent_backward(const RecurrentSpan& span, const RecurrentErrors& to, void* stream);

}  // namespace quintet::cuda
