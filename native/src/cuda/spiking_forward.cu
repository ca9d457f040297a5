// Steps of spiking neurons on a GPU. A thread has one neuron of one stream, a warp 32 neighbours of it; a step reads only the rows of W
// whose neuron fired, and its spikes are ballots.
#include "quintet/cuda/spiking.hpp"
#include "spiking.cuh"

namespace quintet::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kRows = 4;  // of W that are asked for at once

// A word of spikes [N / block, B] in halves of 32 neurons: which half has neuron n (a multiple of 16) of stream b.
__device__ std::int64_t half_of(const SpikingRun& run, std::int64_t n, std::int64_t b) {
  return 2 * (n / run.block * run.batch + b) + n % run.block / 32;
}

// Writes a warp's ballot of neurons n ... n + 31, as the words of their tiles.
__device__ void write(const SpikingRun& run, unsigned ballot, std::int64_t n, std::int64_t b, unsigned* halves) {
  const unsigned lane = threadIdx.x % 32;
  if (n + lane >= run.neurons || lane % (run.block == 16 ? 16 : 32) != 0) return;
  const std::int64_t half = half_of(run, n + lane, b);
  halves[half] = run.block == 16 ? ballot >> lane & 0xFFFF : ballot;
  if (run.block < 64) halves[half + 1] = 0;
}

// The sum of the rows of W, at this neuron, of the neurons that fired.
__device__ float current(const SpikingRun& run, const Wiring& into, const std::uint64_t* fired, std::int64_t n, std::int64_t b) {
  const std::int64_t tile = n / run.block;
  float sum = 0.0f;
  for (std::int64_t e = into.starts[tile]; e < into.starts[tile + 1]; ++e) {
    const float* column = run.weight + into.blocks[e] * run.block * run.block + n % run.block;
    std::uint64_t bits = fired[into.tiles[e] * run.batch + b];
    while (bits != 0) {
      float row[kRows];
      for (int i = 0; i < kRows; ++i, bits &= bits - 1) row[i] = bits == 0 ? 0.0f : column[lowest(bits) * run.block];
      for (int i = 0; i < kRows; ++i) sum += row[i];
    }
  }
  return sum;
}

struct Out {
  float *spikes, *last;
  SpikingKept kept;
};

struct Spiked {
  bool fires, ready;
};

// One step of a neuron, whose state lies in `last`.
__device__ Spiked step(const SpikingRun& run, const Out& out, float input, std::int64_t t, std::int64_t n, std::int64_t b) {
  const std::int64_t p = b * run.neurons + n, size = run.batch * run.neurons, outside = (b * run.steps + t) * run.neurons + n;
  const float theta = run.theta[n], beta = run.beta[n];
  float *const state = out.last + p, v = state[0], a = state[size];
  const bool fired = state[2 * size] > 0.0f;
  const float reset = run.to_zero ? 0.0f : v - fmaf(beta, a, theta);
  v = fmaf(run.alpha[n], fired ? reset : v, input + run.drive[outside]);
  a = fmaf(run.rho, a, fired ? 1.0f - run.rho : 0.0f);
  const float u = v - fmaf(beta, a, theta), since = state[4 * size] + 1.0f;
  const bool ready = since > static_cast<float>(run.refractory), fires = ready && u > 0.0f;
  const float spike = fires ? 1.0f : 0.0f;
  state[0] = v;
  state[size] = a;
  state[2 * size] = spike;
  state[3 * size] = fmaf(run.kappa, state[3 * size], spike);
  state[4 * size] = fires ? 0.0f : fminf(since, 1e6f);
  out.spikes[outside] = spike;
  if (out.kept.distances != nullptr) {
    out.kept.distances[t * size + p] = u;
    out.kept.adaptations[t * size + p] = a;
  }
  return {fires, ready};
}

__global__ void __launch_bounds__(kThreads) forward_kernel(SpikingRun run, Wiring into, Out out, const std::uint64_t* before) {
  const std::int64_t stride = std::int64_t{gridDim.x} * kThreads, first = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const std::int64_t across = (run.neurons + 31) / 32 * 32, words = run.neurons / run.block * run.batch;
  for (std::int64_t i = first; i < 5 * run.batch * run.neurons; i += stride) out.last[i] = run.state[i];
  for (std::int64_t t = 0; t < run.steps; ++t) {
    grid_sync();
    const std::uint64_t* fired = t == 0 ? before : out.kept.spikes + (t - 1) * words;
    for (std::int64_t i = first; i < run.batch * across; i += stride) {
      const std::int64_t n = i % across, b = i / across;
      Spiked spiked{false, false};
      if (n < run.neurons) spiked = step(run, out, current(run, into, fired, n, b), t, n, b);
      const unsigned fires = __ballot_sync(~0U, spiked.fires), ready = __ballot_sync(~0U, spiked.ready);
      const std::int64_t warp = n - threadIdx.x % 32;
      write(run, fires, warp, b, reinterpret_cast<unsigned*>(out.kept.spikes + t * words));
      if (out.kept.ready != nullptr) write(run, ready, warp, b, reinterpret_cast<unsigned*>(out.kept.ready + t * words));
    }
  }
}

}  // namespace

Status spiking_forward(const SpikingRun& run, const Wiring& into, float* spikes, float* last, std::uint64_t* before,
                       const SpikingKept& kept, void* stream) {
  if (run.batch == 0) return {};
  Status status = first_spikes(run, before, stream);
  int most = 0;
  if (status.ok()) status = most_blocks(forward_kernel, kThreads, 0, most);
  if (!status.ok()) return status;
  const std::int64_t threads = run.batch * ((run.neurons + 31) / 32 * 32);
  const auto blocks = static_cast<unsigned>(std::min<std::int64_t>(most, (threads + kThreads - 1) / kThreads));
  return launch_cooperative(forward_kernel, blocks, kThreads, 0, stream, run, into, Out{spikes, last, kept}, before);
}

}  // namespace quintet::cuda
