// The choice of the level for spiking neurons.
#include "quintet/spiking.hpp"

#include "quintet/cpu.hpp"
#include "spiking_levels.hpp"

namespace quintet {

void spiking_forward(const SpikingRun& run, float* spikes, float* last, const SpikingKept* kept) {
  switch (level()) {
#if defined(__x86_64__)
    case Level::kAvx512: return avx512::spiking_forward(run, spikes, last, kept);
    case Level::kAvx2: return avx2::spiking_forward(run, spikes, last, kept);
#endif
    default: return scalar::spiking_forward(run, spikes, last, kept);
  }
}

void spiking_backward(const SpikingRun& run, const SpikingKept& kept, const SpikingGradients& gradients) {
  switch (level()) {
#if defined(__x86_64__)
    case Level::kAvx512: return avx512::spiking_backward(run, kept, gradients);
    case Level::kAvx2: return avx2::spiking_backward(run, kept, gradients);
#endif
    default: return scalar::spiking_backward(run, kept, gradients);
  }
}

}  // namespace quintet
