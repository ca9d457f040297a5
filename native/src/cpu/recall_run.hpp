// A step of an associative memory, row by row.
#pragma once

#include "quintet/recall.hpp"
#include "vector.hpp"

namespace quintet::QUINTET_NAMESPACE {

inline void run_recall_forward(const Recall& recall, float* memory, float* recalled) {
  for (std::int64_t row = 0; row < recall.batch; ++row) {
    const float* keys = recall.key + row * recall.keys;
    const float* before = recall.before + row * recall.keys;
    for (std::int64_t h = 0; h < recall.width; h += 16) {
      const F16 value = load(recall.value + row * recall.width + h) * F16(recall.plasticity[row]);
      F16 total(0.0f);
      for (std::int64_t i = 0; i < recall.keys; ++i) {
        const std::int64_t place = (row * recall.keys + i) * recall.width + h;
        const F16 m = fma(F16(recall.retention[i]), load(recall.memory + place), F16(before[i]) * value);
        store(memory + place, m);
        total = fma(F16(keys[i]), m, total);
      }
      store(recalled + row * recall.width + h, total);
    }
  }
}

inline void run_recall_backward(const Recall& recall, const RecallGradients& to) {
  for (std::int64_t row = 0; row < recall.batch; ++row) {
    const float* value = recall.value + row * recall.width;
    const float* wanted = to.recalled + row * recall.width;
    float* to_value = to.value + row * recall.width;
    const F16 eta(recall.plasticity[row]);
    for (std::int64_t h = 0; h < recall.width; h += 16) store(to_value + h, F16(0.0f));
    float to_eta = 0.0f;
    for (std::int64_t i = 0; i < recall.keys; ++i) {
      const std::int64_t unit = row * recall.keys + i;
      const F16 lambda(recall.retention[i]), key(recall.key[unit]), before(recall.before[unit]);
      F16 to_key(0.0f), to_before(0.0f), to_lambda(0.0f);
      for (std::int64_t h = 0; h < recall.width; h += 16) {
        const std::int64_t place = unit * recall.width + h;
        const F16 old = load(recall.memory + place), v = load(value + h), r = load(wanted + h);
        to_key = fma(fma(lambda, old, before * (v * eta)), r, to_key);
        const F16 change = fma(key, r, load(to.memory + place));
        to_lambda = fma(change, old, to_lambda);
        to_before = fma(change, v, to_before);
        store(to_value + h, fma(before * eta, change, load(to_value + h)));
        store(to.memory + place, lambda * change);
      }
      const float along = sum(to_before);
      to.key[unit] = sum(to_key);
      to.before[unit] = along * recall.plasticity[row];
      to.retention[i] += sum(to_lambda);
      to_eta = to_eta + recall.before[unit] * along;
    }
    to.plasticity[row] = to_eta;
  }
}

}  // namespace quintet::QUINTET_NAMESPACE
