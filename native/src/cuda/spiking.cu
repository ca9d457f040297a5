#include "spiking.cuh"

namespace quintet::cuda {
namespace {

__global__ void first_kernel(SpikingRun run, std::uint64_t* words) {
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= run.neurons / run.block * run.batch) return;
  const std::int64_t b = i % run.batch, n = i / run.batch * run.block;
  const float* z = run.state + (2 * run.batch + b) * run.neurons + n;
  std::uint64_t word = 0;
  for (std::int64_t k = 0; k < run.block; ++k) word |= std::uint64_t{z[k] > 0.0f} << k;
  words[i] = word;
}

}  // namespace

Status first_spikes(const SpikingRun& run, std::uint64_t* words, void* stream) {
  const std::int64_t count = run.neurons / run.block * run.batch;
  return launch(first_kernel, static_cast<unsigned>((count + 127) / 128), 128, 0, stream, run, words);
}

}  // namespace quintet::cuda
