// Sparse connections at the level scalar.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "buffer.hpp"
#include "fan_in_levels.hpp"
#include "quintet/fan_in.hpp"
#include "quintet/pool.hpp"

#define QUINTET_LEVEL 0
#define QUINTET_NAMESPACE scalar
#include "fan_in_run.hpp"

namespace quintet::scalar {

void fan_in_forward(const FanIn& run, float* y) { run_fan_in_forward(run, y); }

void fan_in_backward(const FanIn& run, const FanInGradients& gradients) { run_fan_in_backward(run, gradients); }

}  // namespace quintet::scalar
