// The choice of the level for a phase of spiking neurons.
#include "quintet/phase.hpp"

#include "quintet/cpu.hpp"
#include "phase_levels.hpp"

namespace quintet {

void phase_forward(const Phase& phase, float* rate, float* voltage, float* adaptation) {
  switch (level()) {
#if defined(__x86_64__)
    case Level::kAvx512: return avx512::phase_forward(phase, rate, voltage, adaptation);
    case Level::kAvx2: return avx2::phase_forward(phase, rate, voltage, adaptation);
#endif
    default: return scalar::phase_forward(phase, rate, voltage, adaptation);
  }
}

void phase_backward(const Phase& phase, const PhaseGradients& gradients) {
  switch (level()) {
#if defined(__x86_64__)
    case Level::kAvx512: return avx512::phase_backward(phase, gradients);
    case Level::kAvx2: return avx2::phase_backward(phase, gradients);
#endif
    default: return scalar::phase_backward(phase, gradients);
  }
}

}  // namespace quintet
