// A step of an associative memory with decay: B rows, each a matrix M of K keys' values [K, H].
//
//   M_t[i] = lambda_i M_{t-1}[i] + eta p_i v        p the key units of the step before, v the value that followed them
//   r = k_1 M_t[1] + ... + k_K M_t[K]               k the key units of now
//
// Results do not depend on the level of instructions.
#pragma once

#include <cstdint>

namespace quintet {

struct Recall {
  std::int64_t batch, keys, width;  // width: a multiple of 16
  const float* memory;              // M_{t-1} [B, K, H]
  const float* before;              // p [B, K]
  const float* key;                 // k [B, K]
  const float* value;               // v [B, H]
  const float* retention;           // lambda [K]
  const float* plasticity;          // eta [B]
};

// M_t [B, K, H] and r [B, H].
void recall_forward(const Recall& recall, float* memory, float* recalled);

// Gradients of a loss: that of r comes in; that of M_t comes in, and that of M_{t-1} takes its place. That of lambda is added up.
struct RecallGradients {
  const float* recalled;
  float *memory, *before, *key, *value, *retention, *plasticity;
};
void recall_backward(const Recall& recall, const RecallGradients& gradients);

}  // namespace quintet
