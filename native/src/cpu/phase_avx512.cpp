// Phases of spiking neurons at the level avx512.
#include <cmath>
#include <cstdint>
#include <cstring>

#include "phase_levels.hpp"
#include "quintet/phase.hpp"

#if defined(__x86_64__)
#include "intrinsics.hpp"

#pragma GCC target("avx512f,avx512bw,avx512vl,avx2,fma")
#define QUINTET_LEVEL 512
#define QUINTET_NAMESPACE avx512
#include "phase_run.hpp"

namespace quintet::avx512 {

void phase_forward(const Phase& phase, float* rate, float* voltage, float* adaptation) { run_forward(phase, rate, voltage, adaptation); }

void phase_backward(const Phase& phase, const PhaseGradients& gradients) { run_backward(phase, gradients); }

}  // namespace quintet::avx512
#endif
