// A step of an associative memory with decay, for one row of a batch: a matrix M of K keys' values [K, H].
//
//   M_t[i] = lambda_i M_{t-1}[i] + eta p_i v        p the key units of the step before, v the value that followed them
//   r = k_1 M_t[1] + ... + k_K M_t[K]               k the key units of now
#pragma once

#include <cstdint>

#include "vector.hpp"

namespace quintet::QUINTET_NAMESPACE {

struct Recall {
  std::int64_t keys, width;  // width: a multiple of 16
  const float* memory;       // M_{t-1} [K, H]
  const float* before;       // p [K]
  const float* key;          // k [K]
  const float* value;        // v [H]
  const float* retention;    // lambda [K]
  float opening;             // eta
};

// M_t [K, H] and r [H].
inline void recall_forward(const Recall& recall, float* memory, float* recalled) {
  const F16 eta(recall.opening);
  for (std::int64_t h = 0; h < recall.width; h += 16) store(recalled + h, F16(0.0f));
  for (std::int64_t i = 0; i < recall.keys; ++i) {
    const F16 lambda(recall.retention[i]), key(recall.key[i]), taken = F16(recall.before[i]) * eta;
    for (std::int64_t h = 0; h < recall.width; h += 16) {
      const std::int64_t place = i * recall.width + h;
      const F16 m = fma(lambda, load(recall.memory + place), taken * load(recall.value + h));
      store(memory + place, m);
      store(recalled + h, fma(key, m, load(recalled + h)));
    }
  }
}

// Gradients of a loss: that of r comes in; that of M_t comes in, and that of M_{t-1} takes its place. That of lambda is added up, the
// others are written; that of eta is returned.
struct RecallGradients {
  const float* recalled;
  float *memory, *before, *key, *value, *retention;
};
inline float recall_backward(const Recall& recall, const RecallGradients& to) {
  const F16 eta(recall.opening);
  for (std::int64_t h = 0; h < recall.width; h += 16) store(to.value + h, F16(0.0f));
  float to_eta = 0.0f;
  for (std::int64_t i = 0; i < recall.keys; ++i) {
    const F16 lambda(recall.retention[i]), key(recall.key[i]), before(recall.before[i]);
    F16 to_key(0.0f), to_before(0.0f), to_lambda(0.0f);
    for (std::int64_t h = 0; h < recall.width; h += 16) {
      const std::int64_t place = i * recall.width + h;
      const F16 old = load(recall.memory + place), v = load(recall.value + h), r = load(to.recalled + h);
      to_key = fma(fma(lambda, old, before * (v * eta)), r, to_key);
      const F16 change = fma(key, r, load(to.memory + place));
      to_lambda = fma(change, old, to_lambda);
      to_before = fma(change, v, to_before);
      store(to.value + h, fma(before * eta, change, load(to.value + h)));
      store(to.memory + place, lambda * change);
    }
    const float along = sum(to_before);
    to.key[i] = sum(to_key);
    to.before[i] = along * recall.opening;
    to.retention[i] += sum(to_lambda);
    to_eta = to_eta + recall.before[i] * along;
  }
  return to_eta;
}

}  // namespace quintet::QUINTET_NAMESPACE
