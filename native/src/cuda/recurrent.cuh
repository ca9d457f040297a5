// What both passes of the recurrent run share: how the grid divides the work, and a block's product with its columns of the matrix.
//
// Block (x, y) has the tiles x, x + gridDim.x, ... of kColumns columns each, and the rows of group y, kRows at a time. The rows lie in shared
// memory (in pieces of kPiece columns, of which all columns of a product are made); a lane has one column of the tile, so that it reads the
// rows' numbers four at a time by broadcast, and the matrix without bank conflicts. Warps take turns along the sum.
#pragma once

#include <algorithm>
#include <cmath>

#include "quintet/cuda/recurrent.hpp"
#include "recurrent_math.cuh"

namespace quintet::cuda {

constexpr int kThreads = 512, kWarps = kThreads / 32, kRows = 8, kWarpsPerRow = kWarps / kRows, kPiece = 1024;

// A span's sizes, as the kernels count.
struct Sizes {
  int batch, neurons, stride, tiles, rows;  // rows: of a group
  Dropout dropout;

  __device__ std::int64_t slot() const { return static_cast<std::int64_t>(batch) * stride; }
};

// A block's dynamic shared memory.
template <int kColumns>
struct Memory {
  static constexpr int kSums = kWarps * kRows * kColumns;
  float *staged, *sums, *gains, *scales, *matrix;

  static __device__ Memory of_block(int stride) {
    auto* start = shared<float>();
    Memory memory{};
    memory.staged = start;
    memory.sums = memory.staged + kRows * (stride < kPiece ? stride : kPiece);
    memory.gains = memory.sums + kSums;
    memory.scales = memory.gains + stride;
    memory.matrix = memory.scales + kRows;
    return memory;
  }
  static std::size_t bytes(std::int64_t stride, bool resident) {
    const std::int64_t floats =
        kRows * std::min<std::int64_t>(stride, kPiece) + kSums + stride + kRows + (resident ? stride * kColumns : 0);
    return static_cast<std::size_t>(floats) * sizeof(float);
  }
};

// Where a thread stands: as a reader of rows (each row has kWarpsPerRow warps), as a worker on the product, as the owner of an output.
template <int kColumns>
struct Thread {
  static constexpr int kSplits = kWarps * 32 / kColumns, kOutputs = kRows * kColumns;
  int index, lane, warp;

  __device__ Thread() : index(static_cast<int>(threadIdx.x)), lane(index % 32), warp(index / 32) {}
  __device__ int reads() const { return warp / kWarpsPerRow; }
  __device__ int reads_from() const { return 4 * (warp % kWarpsPerRow * 32 + lane); }
  static constexpr int kReadsStep = 4 * 32 * kWarpsPerRow;
  __device__ int column() const { return lane % kColumns; }
  __device__ int split() const { return warp * (32 / kColumns) + lane / kColumns; }
  __device__ bool owns() const { return index < kOutputs; }
  __device__ int row() const { return index / kColumns; }
};

__device__ inline float4 zeros() { return make_float4(0.0F, 0.0F, 0.0F, 0.0F); }
__device__ inline float4 load_four(const float* from) { return *reinterpret_cast<const float4*>(from); }
__device__ inline void store_four(float* to, float4 value) { *reinterpret_cast<float4*>(to) = value; }

// The sum over `Width` lanes beside each other, the same bits in all of them.
template <int Width>
__device__ float sum_of_lanes(float x) {
#pragma unroll
  for (int bit = Width / 2; bit > 0; bit /= 2) x += __shfl_xor_sync(0xFFFFFFFFU, x, bit);
  return x;
}

// The sum of the tiles' partial sums of one row, by a whole warp.
__device__ inline float sum_of_tiles(const float* partials, int tiles, int lane) {
  float sum = 0.0F;
  for (int i = lane; i < tiles; i += 32) sum += partials[i];
  return sum_of_lanes<32>(sum);
}

// Brings what stays in shared memory: the gain, and the block's columns of a matrix [N, N].
template <int kColumns, bool kResident>
__device__ void bring(const Memory<kColumns>& memory, const Sizes& sizes, const float* gain, const float* matrix) {
  for (int i = static_cast<int>(threadIdx.x); i < sizes.stride; i += kThreads) memory.gains[i] = i < sizes.neurons ? gain[i] : 0.0F;
  const int first = static_cast<int>(blockIdx.x) * kColumns;
  for (int i = static_cast<int>(threadIdx.x); kResident && i < sizes.stride * kColumns; i += kThreads) {
    const int k = i / kColumns, column = first + i % kColumns;
    const bool inside = k < sizes.neurons && column < sizes.neurons;
    memory.matrix[i] = inside ? matrix[static_cast<std::int64_t>(k) * sizes.neurons + column] : 0.0F;
  }
  __syncthreads();
}

// sums[row] += staged[row][0 .. length) times rows [start, start + length) of the matrix at the thread's column of the tile.
template <int kColumns, bool kResident>
__device__ void multiply(const Memory<kColumns>& memory, const Sizes& sizes, const float* matrix, int tile, int start, int length,
                         float (&sums)[kRows]) {
  const Thread<kColumns> thread;
  const int column = tile * kColumns + thread.column();
#pragma unroll 2
  for (int k = 4 * thread.split(); k < length; k += 4 * Thread<kColumns>::kSplits) {
    float w[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int at = start + k + i;
      if constexpr (kResident) {
        w[i] = memory.matrix[at * kColumns + thread.column()];
      } else {
        const bool inside = at < sizes.neurons && column < sizes.neurons;
        w[i] = inside ? matrix[static_cast<std::int64_t>(at) * sizes.neurons + column] : 0.0F;
      }
    }
#pragma unroll
    for (int row = 0; row < kRows; ++row) {
      const float4 x = load_four(memory.staged + row * length + k);
      sums[row] = fmaf(x.w, w[3], fmaf(x.z, w[2], fmaf(x.y, w[1], fmaf(x.x, w[0], sums[row]))));
    }
  }
}

// Products of kRows rows with the tile's columns: `stage(start, length)` puts columns [start, start + length) of the rows into
// memory.staged [kRows, length]. Returns the calling thread's output, if it owns one. All threads of the block call it.
template <int kColumns, bool kResident, class Stage>
__device__ float product(const Memory<kColumns>& memory, const Sizes& sizes, const float* matrix, int tile, Stage stage) {
  const Thread<kColumns> thread;
  float sums[kRows] = {};
  for (int start = 0; start < sizes.stride; start += kPiece) {
    const int length = min(kPiece, sizes.stride - start);
    if (start > 0) __syncthreads();
    stage(start, length);
    __syncthreads();
    multiply<kColumns, kResident>(memory, sizes, matrix, tile, start, length, sums);
  }
#pragma unroll
  for (int row = 0; row < kRows; ++row) {
    if (kColumns == 16) sums[row] += __shfl_xor_sync(0xFFFFFFFFU, sums[row], 16);
    if (thread.lane < kColumns) memory.sums[(thread.warp * kRows + row) * kColumns + thread.lane] = sums[row];
  }
  __syncthreads();
  float sum = 0.0F;
  for (int warp = 0; thread.owns() && warp < kWarps; ++warp) sum += memory.sums[warp * kRows * kColumns + thread.index];
  return sum;
}

// Calls body(tile, first row, end of rows) for the block's rows, kRows at a time, and all its tiles.
template <class Body>
__device__ void over_work(const Sizes& sizes, Body body) {
  const int first = static_cast<int>(blockIdx.y) * sizes.rows, end = min(sizes.batch, first + sizes.rows);
  for (int row = first; row < end; row += kRows) {
    for (int tile = static_cast<int>(blockIdx.x); tile < sizes.tiles; tile += static_cast<int>(gridDim.x)) body(tile, row, end);
  }
}

// Frame that enters at step t, or -1.
__device__ inline std::int64_t frame_at(const RecurrentRun& run, std::int64_t t) {
  const std::int64_t frame = min(t / run.every, run.frames - 1);
  return run.hold || t == frame * run.every ? frame : -1;
}

// The collected state that step t ends with, or -1.
__device__ inline std::int64_t collected_at(const RecurrentRun& run, std::int64_t t) {
  return run.collect > 0 && (t + 1) % run.collect == 0 ? (t + 1) / run.collect - 1 : -1;
}

// ---- host ----

inline Sizes sizes_of(const RecurrentRun& run) {
  Sizes sizes{};
  sizes.batch = static_cast<int>(run.batch);
  sizes.neurons = static_cast<int>(run.neurons);
  sizes.stride = static_cast<int>(padded(run.neurons));
  sizes.dropout.threshold = static_cast<std::uint32_t>(std::min(std::nearbyint(run.dropout * 4294967296.0), 4294967295.0));
  sizes.dropout.seed = run.seed;
  sizes.dropout.scale = static_cast<float>(1.0 / (1.0 - run.dropout));
  sizes.dropout.unscale = 1.0F / sizes.dropout.scale;
  return sizes;
}

// Launches `kernel` if a grid with a block for each tile can be on the device at once (else: not `fits`), with as many groups of rows as go.
template <int kColumns, bool kResident, class Arguments>
Status launch_if_it_fits(void (*kernel)(Arguments), Arguments arguments, void* stream, bool& fits) {
  Sizes& sizes = arguments.sizes;
  const std::size_t bytes = Memory<kColumns>::bytes(sizes.stride, kResident);
  int limit = 0, blocks = 0;
  Status status = most_shared(limit);
  if (status.ok() && bytes <= static_cast<std::size_t>(limit)) status = most_blocks(kernel, kThreads, bytes, blocks);
  sizes.tiles = sizes.stride / kColumns;
  fits = status.ok() && blocks > 0 && (!kResident || sizes.tiles <= blocks);
  if (!fits) return status;
  const int across = std::min(sizes.tiles, blocks), chunks = (sizes.batch + kRows - 1) / kRows;
  const int groups = std::clamp(blocks / across, 1, chunks);
  sizes.rows = (chunks + groups - 1) / groups * kRows;
  const dim3 grid(static_cast<unsigned>(across), static_cast<unsigned>((sizes.batch + sizes.rows - 1) / sizes.rows));
  return launch_cooperative(kernel, grid, dim3(kThreads), bytes, stream, arguments);
}

// The rule: the wider tile with the matrix in shared memory, else the narrower (twice the matrix, more reading of rows), else a matrix that is
// read at each step. `Kernels` has them as get<kColumns, kResident>().
template <class Kernels, class Arguments>
Status launch_best(Arguments arguments, void* stream) {
  bool fits = false;
  Status status;
  const bool wide = arguments.sizes.stride % 32 == 0;
  if (wide) status = launch_if_it_fits<32, true>(Kernels::template get<32, true>(), arguments, stream, fits);
  if (status.ok() && !fits) status = launch_if_it_fits<16, true>(Kernels::template get<16, true>(), arguments, stream, fits);
  if (status.ok() && !fits && wide) status = launch_if_it_fits<32, false>(Kernels::template get<32, false>(), arguments, stream, fits);
  if (status.ok() && !fits) status = launch_if_it_fits<16, false>(Kernels::template get<16, false>(), arguments, stream, fits);
  if (status.ok() && !fits) return Status("no block of a recurrent run of so many neurons fits on this device");
  return status;
}

}  // namespace quintet::cuda
