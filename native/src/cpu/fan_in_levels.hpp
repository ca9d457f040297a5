// Sparse connections at each level of instructions.
#pragma once

#include "quintet/fan_in.hpp"

#define QUINTET_FAN_IN_LEVEL(level)                                         \
  namespace quintet::level {                                                \
  void fan_in_forward(const FanIn& run, float* y);                          \
  void fan_in_backward(const FanIn& run, const FanInGradients& gradients);  \
  }

QUINTET_FAN_IN_LEVEL(scalar)
QUINTET_FAN_IN_LEVEL(avx2)
QUINTET_FAN_IN_LEVEL(avx512)

#undef QUINTET_FAN_IN_LEVEL
