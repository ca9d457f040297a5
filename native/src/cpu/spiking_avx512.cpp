// Spiking neurons at the level avx512.
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
#include "intrinsics.hpp"

#pragma GCC target("avx512f,avx512bw,avx512vl,avx2,fma")
#define QUINTET_LEVEL 512
#define QUINTET_NAMESPACE avx512
#include "spiking_backward.hpp"

namespace quintet::avx512 {

void spiking_forward(const SpikingRun& run, float* spikes, float* last, const SpikingKept* kept) { forward(run, spikes, last, kept); }

void spiking_backward(const SpikingRun& run, const SpikingKept& kept, const SpikingGradients& gradients) {
  SpikingBackward(run, kept, gradients)();
}

}  // namespace quintet::avx512
#endif
