// Spiking neurons at the level avx2.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "buffer.hpp"
#include "quintet/pool.hpp"
#include "quintet/spiking.hpp"
#include "spiking_levels.hpp"

#if defined(__x86_64__)
#include <immintrin.h>

#pragma GCC target("avx2,fma")
#define QUINTET_LEVEL 2
#define QUINTET_NAMESPACE avx2
#include "spiking_backward.hpp"

namespace quintet::avx2 {

void spiking_forward(const SpikingRun& run, float* spikes, float* last, const SpikingKept* kept) { forward(run, spikes, last, kept); }

void spiking_backward(const SpikingRun& run, const SpikingKept& kept, const SpikingGradients& gradients) {
  SpikingBackward(run, kept, gradients)();
}

}  // namespace quintet::avx2
#endif
