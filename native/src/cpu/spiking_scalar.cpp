// Spiking neurons at the level scalar.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "buffer.hpp"
#include "quintet/pool.hpp"
#include "quintet/spiking.hpp"
#include "spiking_levels.hpp"

#define QUINTET_LEVEL 0
#define QUINTET_NAMESPACE scalar
#include "spiking_backward.hpp"

namespace quintet::scalar {

void spiking_forward(const SpikingRun& run, float* spikes, float* last, const SpikingKept* kept) { forward(run, spikes, last, kept); }

void spiking_backward(const SpikingRun& run, const SpikingKept& kept, const SpikingGradients& gradients) {
  SpikingBackward(run, kept, gradients)();
}

}  // namespace quintet::scalar
