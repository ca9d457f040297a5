// What both passes of the spiking run share on a GPU.
#pragma once

#include <algorithm>

#include "device.cuh"
#include "quintet/spiking.hpp"

namespace quintet::cuda {

__device__ inline int lowest(std::uint64_t bits) { return __ffsll(static_cast<long long>(bits)) - 1; }

// The words [N / block, B] of the spikes of the initial state.
[[nodiscard]] Status first_spikes(const SpikingRun& run, std::uint64_t* words, void* stream);

}  // namespace quintet::cuda
