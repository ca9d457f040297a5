// A window of tokens through a brain of six spiking modules, and back: the cycle that pipeline/models/neurogen/brain.py defines.
//
// Rows of a batch are independent of each other but for sums of gradients, which are made over groups of rows in their order: results
// depend neither on the number of threads nor on the level of instructions.
#pragma once

#include <cstdint>

namespace quintet {

enum BrainModule { kThalamus, kWernicke, kHippocampus, kPrefrontal, kBasalGanglia, kBroca, kBrainModules };

// Where the sums of a token lie in a row of them; gradients by them lie alike. What one projection adds to lies side by side.
struct BrainColumns {
  std::int64_t thalamus, wernicke, prefrontal, gate, key, value, basal_ganglia, broca, go, hippocampus;  // go: before the gate's function
  std::int64_t width;
};

struct BrainWindow {
  std::int64_t batch, tokens, vocabulary, keys;
  std::int64_t neurons[kBrainModules];  // multiples of 16; N is all modules side by side
  std::int64_t steps[kBrainModules];    // internal, of a phase
  float rho, beta, height, epsilon;     // as in phase.hpp
  float key_threshold, slack;           // of the memory's key units; charge = sqrt(slack - decay^2)
  int threads;
  const std::int64_t* token_ids;  // [T, B]
  const float* drive;             // [T, B, thalamus]
  // Matrices [outputs, inputs], of bundles whose outputs lie side by side: feedback to thalamus (inhibits), Wernicke and prefrontal cortex
  // with its gates; Wernicke's to prefrontal cortex with gates, keys and values; the prefrontal cortex' to basal ganglia and Broca.
  const float *feedback, *thalamus, *wernicke, *hippocampus, *prefrontal, *basal_ganglia;
  const float *head, *head_bias;      // [vocabulary, broca], [vocabulary]
  const float *gain, *bias;           // [N]
  const float *decay, *charge;        // [N], not read for the prefrontal cortex
  const float* sensitivity;           // [2, N]: to dopamine, to serotonin
  const float *gate_gain, *gate_bias; // [prefrontal]
  const float *key_gain, *key_bias;   // [keys]
  const float* retention;             // [keys]
  const float* plasticity;            // [3]
};

BrainColumns columns_of(const std::int64_t* neurons, std::int64_t keys);
std::int64_t all_neurons(const BrainWindow& window);
std::int64_t first_neuron(const BrainWindow& window, int module);

// What the forward pass writes and the backward pass reads. Histories have T + 1 entries; the first, the state before, is given.
struct BrainKept {
  float *rates[kBrainModules], *voltage[kBrainModules], *adaptation[kBrainModules];  // [T + 1, B, neurons]
  float* memory;   // [T + 1, B, keys, hippocampus]
  float* key;      // [T + 1, B, keys]
  float* levels;   // [T + 1, B, 3]: dopamine, serotonin, the loss they are measured from
  float* sums;     // [T, B, columns]
  float* decay;    // [T, B, prefrontal]
  float* opening;  // [T, B]: how far the memory opens to a new value
};
void brain_forward(const BrainWindow& window, const BrainKept& kept);

// Gradients of a loss: those of the modules' rates come in (null: zero), none passes to the window before.
struct BrainGradients {
  const float* rates[kBrainModules];  // [T, B, neurons]
  float* sums;                        // [T, B, columns]
  float* vectors;                     // [6, N]: of gain, bias, decay, charge and the two sensitivities
  float* gate;                        // [2, prefrontal]: of its gain and bias
  float* key;                         // [3, keys]: of its gain and bias, and of retention
  float* plasticity;                  // [3]
};
void brain_backward(const BrainWindow& window, const BrainKept& kept, const BrainGradients& gradients);

}  // namespace quintet
