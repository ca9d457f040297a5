// A run of T steps of a recurrent layer of N neurons on a batch of B rows:
//
//   s_t = h_t W + b + I_t,   d_t = dropout(act(s_t)),   h_{t+1} = RMSNorm(d_t) = g d_t r_t,   r_t = 1 / sqrt(mean(d_t^2) + epsilon)
//
// Instead of h, the kernels carry d and the scalar r of each row: s_t = r_{t-1} d_{t-1} (diag(g) W) + b + I_t, so that one pass over the
// product's result ends a step, and only d (or s, for activations whose value does not tell their slope) and r are kept for the backward
// pass. Results do not depend on the number of threads nor on the level of instructions.
#pragma once

#include <cstdint>

namespace quintet {

enum class Activation { kIdentity, kRelu, kLeakyRelu, kElu, kTanh, kSigmoid, kGelu, kSilu };

// All matrices are row-major without gaps, float32.
struct RecurrentRun {
  std::int64_t batch, neurons, steps;
  // Frame k of the input enters at step k * every, at the neurons `places` (null: at all); with `hold` it enters at each step until the
  // next.
  std::int64_t frames, inputs, every;
  bool hold;
  std::int64_t collect;  // the states after steps collect, 2 collect, ... are given out; 0: none
  std::int64_t segment;  // keep only each segment-th state for the backward pass, which computes the others again; 0: keep all
  Activation activation;
  double dropout;  // probability in [0, 1)
  std::uint64_t seed;
  float epsilon;
  int threads;
  const float* weight;         // [N, N]: from row to column
  const float* bias;           // [N]
  const float* gain;           // [N]
  const float* state;          // [B, N], or null: zero
  const float* drive;          // [B, frames, inputs]
  const std::int64_t* places;  // [inputs], each below N, or null
};

// Rows of neurons lie in tiles of `width` columns: [tiles, rows, width].
struct RecurrentShape {
  std::int64_t width, tiles, slots, slot;  // slots: kept states; slot: floats of one
  std::int64_t masks;                      // kept 64-bit masks
};
RecurrentShape shape_of(const RecurrentRun& run);

// What the backward pass needs: values [slots, slot], scales [T, B], masks [T, tiles, B] if there is dropout and no segment.
struct RecurrentKept {
  float* values;
  float* scales;
  std::uint64_t* masks;
};

// final [B, N], states [B, T / collect, N]. `kept` is null where no backward pass will follow.
void recurrent_forward(const RecurrentRun& run, float* final, float* states, const RecurrentKept* kept);

// Gradients of a loss; those of `final` and `states` come in and may be null (zero).
struct RecurrentGradients {
  const float* final;
  const float* states;
  float* weight;
  float* bias;
  float* gain;
  float* state;  // null if the run began at zero
  float* drive;
};
void recurrent_backward(const RecurrentRun& run, const RecurrentKept& kept, const RecurrentGradients& gradients);

}  // namespace quintet
