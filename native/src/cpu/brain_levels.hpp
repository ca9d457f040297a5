// A brain's window at each level of instructions.
#pragma once

#include "quintet/brain.hpp"

#define QUINTET_BRAIN_LEVEL(level)                                                                                  \
  namespace quintet::level {                                                                                        \
  void brain_forward(const BrainWindow& window, const BrainKept& kept);                                             \
  void brain_backward(const BrainWindow& window, const BrainKept& kept, const BrainGradients& gradients);           \
  }

QUINTET_BRAIN_LEVEL(scalar)
QUINTET_BRAIN_LEVEL(avx2)
QUINTET_BRAIN_LEVEL(avx512)

#undef QUINTET_BRAIN_LEVEL
