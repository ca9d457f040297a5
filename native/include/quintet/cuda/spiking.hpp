// The spiking run (quintet/spiking.hpp) on a CUDA device: all pointers are the device's, u and a are kept as [T, B, N], `threads` is not
// read. One cooperative launch does all steps of a pass, one more the gradients of the weights. The forward pass gives the CPU's bits; the
// gradients of neurons and states too, those of weights and thresholds are summed in another order (fixed, so that runs repeat).
#pragma once

#include "quintet/cuda/status.hpp"
#include "quintet/spiking.hpp"

namespace quintet::cuda {

// The blocks of W by the tile of neurons where they end (forward) or begin (backward), in their given order: those of tile i are
// blocks[starts[i]] ... blocks[starts[i + 1] - 1], and tiles[k] is where the other end of blocks[k] lies.
struct Wiring {
  const std::int64_t* starts;  // [N / block + 1]
  const std::int64_t* blocks;  // [K]
  const std::int64_t* tiles;   // [K]
};

// `before` [N / block, B] takes the spikes of the initial state. kept.distances and kept.adaptations are null where no backward pass will
// follow; kept.ready too; kept.spikes never.
[[nodiscard]] Status spiking_forward(const SpikingRun& run, const Wiring& into, float* spikes, float* last, std::uint64_t* before,
                                     const SpikingKept& kept, void* stream);

// `turned` [K, block, block] holds the blocks of W transposed; `sums` [3, spiking_groups(B), N] and `before` are room to work in.
[[nodiscard]] Status spiking_backward(const SpikingRun& run, const Wiring& out_of, const float* turned, const SpikingKept& kept,
                                      const SpikingGradients& gradients, float* sums, std::uint64_t* before, void* stream);

// Groups of streams whose neurons' sums a thread adds up.
constexpr std::int64_t kSpikingStreams = 4;
constexpr std::int64_t spiking_groups(std::int64_t batch) { return (batch + kSpikingStreams - 1) / kSpikingStreams; }

}  // namespace quintet::cuda
