// Phases of spiking neurons at the level scalar.
#include <cmath>
#include <cstdint>
#include <cstring>

#include "phase_levels.hpp"
#include "quintet/phase.hpp"

#define QUINTET_LEVEL 0
#define QUINTET_NAMESPACE scalar
#include "phase_run.hpp"

namespace quintet::scalar {

void phase_forward(const Phase& phase, float* rate, float* voltage, float* adaptation) { run_forward(phase, rate, voltage, adaptation); }

void phase_backward(const Phase& phase, const PhaseGradients& gradients) { run_backward(phase, gradients); }

}  // namespace quintet::scalar
