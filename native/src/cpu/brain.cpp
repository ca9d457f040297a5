// The choice of the level for a brain's window, and where its numbers lie.
#include "quintet/brain.hpp"

#include "brain_levels.hpp"
#include "quintet/cpu.hpp"

namespace quintet {

BrainColumns columns_of(const std::int64_t* neurons, std::int64_t keys) {
  BrainColumns c{};
  std::int64_t end = 0;
  const auto take = [&](std::int64_t count) {
    const std::int64_t first = end;
    end += count;
    return first;
  };
  c.thalamus = take(neurons[kThalamus]);
  c.wernicke = take(neurons[kWernicke]);
  c.prefrontal = take(neurons[kPrefrontal]);
  c.gate = take(neurons[kPrefrontal]);
  c.key = take(keys);
  c.value = take(neurons[kHippocampus]);
  end = (end + 15) / 16 * 16;  // products write whole vectors
  c.basal_ganglia = take(neurons[kBasalGanglia]);
  c.broca = take(neurons[kBroca]);
  c.go = take(neurons[kBroca]);
  c.hippocampus = take(neurons[kHippocampus]);
  c.width = end;
  return c;
}

std::int64_t first_neuron(const BrainWindow& window, int module) {
  std::int64_t first = 0;
  for (int m = 0; m < module; ++m) first += window.neurons[m];
  return first;
}

std::int64_t all_neurons(const BrainWindow& window) { return first_neuron(window, kBrainModules); }

void brain_forward(const BrainWindow& window, const BrainKept& kept) {
  switch (level()) {
#if defined(__x86_64__)
    case Level::kAvx512: return avx512::brain_forward(window, kept);
    case Level::kAvx2: return avx2::brain_forward(window, kept);
#endif
    default: return scalar::brain_forward(window, kept);
  }
}

void brain_backward(const BrainWindow& window, const BrainKept& kept, const BrainGradients& gradients) {
  switch (level()) {
#if defined(__x86_64__)
    case Level::kAvx512: return avx512::brain_backward(window, kept, gradients);
    case Level::kAvx2: return avx2::brain_backward(window, kept, gradients);
#endif
    default: return scalar::brain_backward(window, kept, gradients);
  }
}

}  // namespace quintet
