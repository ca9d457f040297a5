// The backward pass of spiking neurons on a GPU; the formulas stand in src/cpu/spiking_backward.hpp. A block of threads has a tile of
// neurons of some streams, a thread one neuron of 4 of them. G(v) of a step is the gradient of its drive, so that is where others read it.
#include "quintet/cuda/spiking.hpp"
#include "spiking.cuh"

namespace quintet::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kStreams = static_cast<int>(kSpikingStreams);
constexpr int kNeurons = 16;  // presynaptic neurons of a thread of the weights' gradients

struct Pass {
  SpikingRun run;
  Wiring out_of;
  const float* turned;
  SpikingKept kept;
  SpikingGradients to;
  float* sums;  // [3, groups, N]
  std::int64_t groups;

  __device__ std::int64_t size() const { return run.batch * run.neurons; }
  // Of neuron n: streams of a block of threads, its part of them by threads.
  __device__ std::int64_t streams() const { return kThreads / run.block * kStreams; }
  __device__ std::int64_t outside(std::int64_t t, std::int64_t n, std::int64_t b) const { return (b * run.steps + t) * run.neurons + n; }
  __device__ bool bit(const std::uint64_t* words, std::int64_t t, std::int64_t n, std::int64_t b) const {
    return words[(t * (run.neurons / run.block) + n / run.block) * run.batch + b] >> n % run.block & 1;
  }
};

// G(v) of step t times W^T at this thread's neuron, of 4 streams: tiles of G(v) go through shared memory, [block, streams].
__device__ void product(const Pass& pass, std::int64_t t, std::int64_t tile, std::int64_t first, float (&sum)[kStreams]) {
  const std::int64_t width = pass.run.block, streams = pass.streams(), neuron = threadIdx.x % width, mine = threadIdx.x / width * kStreams;
  float* errors = shared<float>();
  for (std::int64_t e = pass.out_of.starts[tile]; e < pass.out_of.starts[tile + 1]; ++e) {
    __syncthreads();
    for (std::int64_t p = threadIdx.x; p < width * streams; p += kThreads) {
      const std::int64_t b = first + p / width, j = p % width;
      errors[j * streams + p / width] = b < pass.run.batch ? pass.to.drive[pass.outside(t, pass.out_of.tiles[e] * width + j, b)] : 0.0f;
    }
    __syncthreads();
    const float* column = pass.turned + pass.out_of.blocks[e] * width * width + neuron;
    for (std::int64_t j = 0; j < width; ++j) {
      const float weight = column[j * width];
      for (int s = 0; s < kStreams; ++s) sum[s] = fmaf(errors[j * streams + mine + s], weight, sum[s]);
    }
  }
}

// What a thread adds up over its streams: gradients of alpha, and less those of theta and beta.
struct Sums {
  float alpha = 0.0f, theta = 0.0f, beta = 0.0f;
};

// One step of a neuron, of which `spike` is the product. G(a') and G(x') lie in their rows of the gradient of the state.
__device__ void step(const Pass& pass, std::int64_t t, std::int64_t n, std::int64_t b, float spike, Sums& sums) {
  const SpikingRun& run = pass.run;
  const SpikingGradients& to = pass.to;
  const std::int64_t p = b * run.neurons + n, size = pass.size();
  const bool end = t + 1 == run.steps, fired = pass.bit(pass.kept.spikes, t, n, b), ready = pass.bit(pass.kept.ready, t, n, b);
  const float theta = run.theta[n], beta = run.beta[n], u = pass.kept.distances[t * size + p], a = pass.kept.adaptations[t * size + p];
  const float after = end ? 0.0f : to.drive[pass.outside(t + 1, n, b)], later = end ? 0.0f : to.state[size + p];
  float trace = end ? 0.0f : run.kappa * to.state[3 * size + p];
  sums.alpha += after * (fired ? (run.to_zero ? 0.0f : u) : u + fmaf(beta, a, theta));
  if (end && to.last != nullptr) spike = to.last[2 * size + p] + to.last[3 * size + p];
  spike = fmaf(1.0f - run.rho, later, spike) + trace;
  if (to.spikes != nullptr) spike += to.spikes[pass.outside(t, n, b)];
  const float angle = 3.14159265f * u, distance = ready ? spike * (run.height / fmaf(angle, angle, 1.0f)) : 0.0f;
  float voltage = run.alpha[n] * (run.to_zero && fired ? 0.0f : after) + distance, adaptation = run.rho * later - beta * distance;
  sums.theta += distance;
  sums.beta += distance * a;
  if (end && to.last != nullptr) {
    voltage += to.last[p];
    adaptation += to.last[size + p];
    trace += to.last[3 * size + p];
  }
  to.drive[pass.outside(t, n, b)] = voltage;
  to.state[size + p] = adaptation;
  to.state[3 * size + p] = trace;
}

// What is left of the gradients before the first step.
__device__ void finish(const Pass& pass, std::int64_t n, std::int64_t b, float spike, Sums& sums) {
  const SpikingRun& run = pass.run;
  const std::int64_t p = b * run.neurons + n, size = pass.size();
  const float v = run.state[p], a = run.state[size + p], voltage = pass.to.drive[pass.outside(0, n, b)];
  const bool fired = run.state[2 * size + p] > 0.0f;
  const float kept = run.to_zero && fired ? 0.0f : 1.0f;
  const float threshold = run.theta[n] + run.beta[n] * a, adaptation = pass.to.state[size + p];
  sums.alpha += voltage * (run.to_zero ? v * kept : v - (fired ? threshold : 0.0f));
  pass.to.state[p] = run.alpha[n] * voltage * kept;
  pass.to.state[size + p] = run.rho * adaptation;
  pass.to.state[2 * size + p] = (1.0f - run.rho) * adaptation + spike;
  pass.to.state[3 * size + p] = run.kappa * pass.to.state[3 * size + p];
  pass.to.state[4 * size + p] = 0.0f;
}

// The sums of all groups of streams, one thread a neuron.
__device__ void reduce(const Pass& pass) {
  const std::int64_t neurons = pass.run.neurons, stride = std::int64_t{gridDim.x} * kThreads;
  for (std::int64_t n = std::int64_t{blockIdx.x} * kThreads + threadIdx.x; n < neurons; n += stride) {
    float sum[3] = {};
    for (int which = 0; which < 3; ++which) {
      for (std::int64_t g = 0; g < pass.groups; ++g) sum[which] += pass.sums[(which * pass.groups + g) * neurons + n];
    }
    pass.to.alpha[n] = sum[0];
    pass.to.theta[n] = -sum[1];
    pass.to.beta[n] = -sum[2];
  }
}

__global__ void __launch_bounds__(kThreads) backward_kernel(Pass pass) {
  const SpikingRun& run = pass.run;
  const std::int64_t count = run.neurons / run.block, streams = pass.streams();
  const std::int64_t units = count * ((run.batch + streams - 1) / streams);
  for (std::int64_t t = run.steps - 1; t >= -1; --t) {
    for (std::int64_t unit = blockIdx.x; unit < units; unit += gridDim.x) {
      const std::int64_t tile = unit % count, first = unit / count * streams, mine = first + threadIdx.x / run.block * kStreams;
      const std::int64_t n = tile * run.block + threadIdx.x % run.block;
      float spikes[kStreams] = {};
      if (t + 1 < run.steps) product(pass, t + 1, tile, first, spikes);
      Sums sums;
      for (int s = 0; s < kStreams && mine + s < run.batch; ++s) {
        t < 0 ? finish(pass, n, mine + s, spikes[s], sums) : step(pass, t, n, mine + s, spikes[s], sums);
      }
      if (mine >= run.batch) continue;
      const float each[3] = {sums.alpha, sums.theta, sums.beta};
      for (int which = 0; which < 3; ++which) {
        float& sum = pass.sums[(which * pass.groups + mine / kStreams) * run.neurons + n];
        sum = (t + 1 == run.steps ? 0.0f : sum) + each[which];
      }
    }
    grid_sync();
  }
  reduce(pass);
}

// The gradient of block blockIdx.x of W: a thread has one postsynaptic neuron and 16 presynaptic ones, and adds G(v) to those that fired.
__global__ void weight_kernel(Pass pass, const std::uint64_t* before) {
  const SpikingRun& run = pass.run;
  const std::int64_t words = run.neurons / run.block * run.batch, k = blockIdx.x;
  const std::int64_t column = threadIdx.x % run.block, first = threadIdx.x / run.block * kNeurons;
  const std::int64_t from = run.places[2 * k], n = run.places[2 * k + 1] * run.block + column;
  float sum[kNeurons] = {};
  for (std::int64_t t = 0; t < run.steps; ++t) {
    const std::uint64_t* fired = (t == 0 ? before : pass.kept.spikes + (t - 1) * words) + from * run.batch;
    for (std::int64_t b = 0; b < run.batch; ++b) {
      const auto bits = static_cast<unsigned>(fired[b] >> first);
      const float error = pass.to.drive[pass.outside(t, n, b)];
      for (int i = 0; i < kNeurons; ++i) sum[i] += bits >> i & 1 ? error : 0.0f;
    }
  }
  for (int i = 0; i < kNeurons; ++i) pass.to.weight[(k * run.block + first + i) * run.block + column] = sum[i];
}

}  // namespace

Status spiking_backward(const SpikingRun& run, const Wiring& out_of, const float* turned, const SpikingKept& kept,
                        const SpikingGradients& gradients, float* sums, std::uint64_t* before, void* stream) {
  const Pass pass{run, out_of, turned, kept, gradients, sums, spiking_groups(run.batch)};
  const std::int64_t streams = kThreads / run.block * kStreams;
  const std::size_t room = static_cast<std::size_t>(run.block * streams) * sizeof(float);
  int most = 0;
  Status status = first_spikes(run, before, stream);
  if (status.ok()) status = most_blocks(backward_kernel, kThreads, room, most);
  if (!status.ok()) return status;
  const std::int64_t units = std::max<std::int64_t>(1, run.neurons / run.block * ((run.batch + streams - 1) / streams));
  const auto blocks = static_cast<unsigned>(std::min<std::int64_t>(most, units));
  status = launch_cooperative(backward_kernel, blocks, kThreads, room, stream, pass);
  if (!status.ok()) return status;
  const auto threads = static_cast<unsigned>(run.block * run.block / kNeurons);
  return launch(weight_kernel, static_cast<unsigned>(run.blocks), threads, 0, stream, pass, before);
}

}  // namespace quintet::cuda
