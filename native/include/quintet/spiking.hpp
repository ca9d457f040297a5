// A run of T steps of N spiking neurons (LIF with an adaptive threshold) on B streams, coupled by a block-sparse matrix W:
//
//   v_t = alpha (v_{t-1} - z_{t-1} A_{t-1}) + J_t + z_{t-1} W     membrane; reset by subtraction, or to zero: alpha v_{t-1} (1 - z_{t-1})
//   a_t = rho a_{t-1} + (1 - rho) z_{t-1},  A_t = theta + beta a_t   adaptation, threshold
//   z_t = 1 if v_t > A_t and no spike in the last `refractory` steps, else 0
//   x_t = kappa x_{t-1} + z_t                                      trace
//
// (Bellec et al., A solution to the learning dilemma for recurrent networks of spiking neurons, 2020, with a normalised adaptation.)
// The derivative of a spike by v_t - A_t = u is taken to be height / (1 + (pi u)^2) where the neuron could fire; no gradient passes through
// the reset. Results depend neither on the number of threads nor on the level of instructions.
#pragma once

#include <cstdint>

namespace quintet {

struct SpikingRun {
  std::int64_t batch, neurons, steps;
  std::int64_t block;   // 16, 32 or 64; divides `neurons`
  std::int64_t blocks;  // of W
  std::int64_t refractory;
  bool to_zero;  // reset to zero instead of by subtraction
  float rho, kappa, height;
  int threads;
  const float* weight;         // [blocks, block, block], from row to column
  const std::int64_t* places;  // [blocks, 2]: which block of presynaptic neurons, which of postsynaptic ones
  const float* alpha;          // [N]
  const float* theta;          // [N]
  const float* beta;           // [N]
  const float* state;          // [5, B, N]: v, a, z (0 or 1), x, steps since the last spike
  const float* drive;          // [B, T, N]
};

// What the backward pass needs: u and a, T times B x N numbers in an order of the kernels' own, and a bit a neuron: its spike, and whether
// it could fire, each [T, N / block, B].
struct SpikingKept {
  float* distances;
  float* adaptations;
  std::uint64_t* spikes;
  std::uint64_t* ready;
};

// spikes [B, T, N] of 0 and 1, last [5, B, N]. `kept` is null where no backward pass will follow.
void spiking_forward(const SpikingRun& run, float* spikes, float* last, const SpikingKept* kept);

// Gradients of a loss: those of spikes and last (null: zero) come in; the last row of `state` gets zeros.
struct SpikingGradients {
  const float* spikes;
  const float* last;
  float* weight;
  float* alpha;
  float* theta;
  float* beta;
  float* state;
  float* drive;
};
void spiking_backward(const SpikingRun& run, const SpikingKept& kept, const SpikingGradients& gradients);

}  // namespace quintet
