// Phases of spiking neurons at each level of instructions.
#pragma once

#include "quintet/phase.hpp"

#define QUINTET_PHASE_LEVEL(level)                                                           \
  namespace quintet::level {                                                                 \
  void phase_forward(const Phase& phase, float* rate, float* voltage, float* adaptation);    \
  void phase_backward(const Phase& phase, const PhaseGradients& gradients);                  \
  }

QUINTET_PHASE_LEVEL(scalar)
QUINTET_PHASE_LEVEL(avx2)
QUINTET_PHASE_LEVEL(avx512)

#undef QUINTET_PHASE_LEVEL
