// Spiking neurons at each level of instructions.
#pragma once

#include "quintet/spiking.hpp"

#define QUINTET_SPIKING_LEVEL(level)                                                                        \
  namespace quintet::level {                                                                                \
  void spiking_forward(const SpikingRun& run, float* spikes, float* last, const SpikingKept* kept);         \
  void spiking_backward(const SpikingRun& run, const SpikingKept& kept, const SpikingGradients& gradients); \
  }

QUINTET_SPIKING_LEVEL(scalar)
QUINTET_SPIKING_LEVEL(avx2)
QUINTET_SPIKING_LEVEL(avx512)

#undef QUINTET_SPIKING_LEVEL
