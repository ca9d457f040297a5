// A phase of spiking neurons: normalised current, then some internal steps of adaptive leaky integrate-and-fire at that current.
//
//   I = (g LayerNorm(x) + b) m                      x the summed input of B rows of N neurons, m the modulation of each
//   v_k = a w_{k-1} + c I                           membrane: decay a, charge c
//   z_k = 1 if v_k > A_{k-1} = 1 + beta s_{k-1}, else 0
//   w_k = v_k - z_k A_{k-1}                         reset by subtraction
//   s_k = rho s_{k-1} + (1 - rho) z_k               adaptation
//   rate = (z_1 + ... + z_K) / K
//
// The derivative of a spike by v - A = u is taken to be height / (1 + (pi u)^2); no gradient passes through reset and adaptation.
// Results depend neither on the level of instructions nor on the number of threads.
#pragma once

#include <cstdint>

namespace quintet {

constexpr std::int64_t kMostPhaseSteps = 16;

struct Phase {
  std::int64_t batch, neurons;  // neurons: a multiple of 16
  std::int64_t steps;           // K, from 1 to kMostPhaseSteps
  bool by_row;                  // whether decay and charge are [B, N] instead of [N]
  float rho, beta, height, epsilon;
  const float* current;     // x [B, N]
  const float* gain;        // g [N]
  const float* bias;        // b [N]
  const float* modulation;  // m [B, N]
  const float* decay;       // a
  const float* charge;      // c
  const float* voltage;     // w_0 [B, N]
  const float* adaptation;  // s_0 [B, N]
};

// rate, and w and s after the last step, all [B, N].
void phase_forward(const Phase& phase, int threads, float* rate, float* voltage, float* adaptation);

// Gradients of a loss: those of rate and the last w come in (null: zero), those of the inputs go out, in their shapes.
struct PhaseGradients {
  const float *rate, *last;
  float *current, *gain, *bias, *modulation, *decay, *charge, *voltage;
};
void phase_backward(const Phase& phase, int threads, const PhaseGradients& gradients);

}  // namespace quintet
