// The choice of the level for sparse connections.
#include "quintet/fan_in.hpp"

#include "fan_in_levels.hpp"
#include "quintet/cpu.hpp"

namespace quintet {

void fan_in_forward(const FanIn& run, float* y) {
  switch (level()) {
#if defined(__x86_64__)
    case Level::kAvx512: return avx512::fan_in_forward(run, y);
    case Level::kAvx2: return avx2::fan_in_forward(run, y);
#endif
    default: return scalar::fan_in_forward(run, y);
  }
}

void fan_in_backward(const FanIn& run, const FanInGradients& gradients) {
  switch (level()) {
#if defined(__x86_64__)
    case Level::kAvx512: return avx512::fan_in_backward(run, gradients);
    case Level::kAvx2: return avx2::fan_in_backward(run, gradients);
#endif
    default: return scalar::fan_in_backward(run, gradients);
  }
}

}  // namespace quintet
