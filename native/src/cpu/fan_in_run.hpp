// Sparse connections, column by column: see fan_in_forward.hpp and fan_in_backward.hpp.
#pragma once

#include "fan_in_backward.hpp"
#include "fan_in_forward.hpp"

namespace quintet::QUINTET_NAMESPACE {

inline void run_fan_in_forward(const FanIn& run, float* y) { FanInForward{run}(y); }

inline void run_fan_in_backward(const FanIn& run, const FanInGradients& gradients) { FanInBackward{run, gradients}(); }

}  // namespace quintet::QUINTET_NAMESPACE
