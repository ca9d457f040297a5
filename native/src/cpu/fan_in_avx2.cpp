// Sparse connections at the level avx2.
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

#if defined(__x86_64__)
#include <immintrin.h>

#pragma GCC target("avx2,fma")
#define QUINTET_LEVEL 2
#define QUINTET_NAMESPACE avx2
#include "fan_in_run.hpp"

namespace quintet::avx2 {

void fan_in_forward(const FanIn& run, float* y) { run_fan_in_forward(run, y); }

void fan_in_backward(const FanIn& run, const FanInGradients& gradients) { run_fan_in_backward(run, gradients); }

}  // namespace quintet::avx2
#endif
