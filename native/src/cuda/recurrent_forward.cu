// The steps of a span: s_t = r_{t-1} (d_{t-1} g) W + b + I_t, d_t = dropout(act(s_t)); r_t is known when the grid has met.
#include "recurrent.cuh"

namespace quintet::cuda {

namespace {

struct ForwardArguments {
  RecurrentSpan span;
  RecurrentOutputs to;
  Sizes sizes;
};

template <int kColumns, bool kResident>
class Forward {
 public:
  __device__ explicit Forward(const ForwardArguments& arguments)
      : a_(arguments), run_(arguments.span.run), sizes_(arguments.sizes), memory_(Memory<kColumns>::of_block(sizes_.stride)) {}

  __device__ void operator()() {
    bring<kColumns, kResident>(memory_, sizes_, run_.gain, run_.weight);
    for (std::int64_t t = a_.span.from; t <= a_.span.to; ++t) {
      over_work(sizes_, [&](int tile, int first, int end) { work(t, tile, first, end); });
      if (t < a_.span.to) grid_sync();
    }
  }

 private:
  __device__ float* values(std::int64_t t) const { return a_.to.values + (t - a_.span.from) % a_.to.slots * sizes_.slot(); }

  // Ends step t - 1 and makes step t of some rows and a tile's columns; at the span's end only the former.
  __device__ void work(std::int64_t t, int tile, int first, int end) {
    const int b = first + thread_.row(), column = tile * kColumns + thread_.index % kColumns;
    const bool inside = thread_.owns() && b < end && column < sizes_.neurons;
    const bool makes = t < a_.span.to, multiplies = makes && (t > 0 || run_.state != nullptr);
    const float added = inside && makes ? run_.bias[column] + entering(t, b, column) : 0.0F;
    find_scale(t, first + thread_.reads(), end);
    float sum = 0.0F;
    if (multiplies) {
      sum = product<kColumns, kResident>(memory_, sizes_, run_.weight, tile,
                                         [&](int start, int length) { stage(t, first + thread_.reads(), end, start, length); });
    } else {
      __syncthreads();
    }
    if (thread_.owns()) {
      const float r = memory_.scales[thread_.row()];
      if (inside && t > a_.span.from) deliver(t - 1, b, column, r);
      if (makes) make(t, tile, b, column, end, fmaf(sum, r, added));
    }
    __syncthreads();
  }

  // r of step t - 1, for the row that this warp reads.
  __device__ void find_scale(std::int64_t t, int b, int end) {
    float r = 1.0F;
    if (b < end && t > a_.span.from) {
      const float* partials = a_.span.partials + ((t - 1) % 2 * sizes_.batch + b) * sizes_.tiles;
      const float squares = sum_of_tiles(partials, sizes_.tiles, thread_.lane);
      r = 1.0F / sqrtf(squares / static_cast<float>(sizes_.neurons) + run_.epsilon);
    } else if (b < end && t > 0) {
      r = a_.span.scales[(t - 1) * sizes_.batch + b];
    }
    if (thread_.lane == 0 && thread_.warp % kWarpsPerRow == 0) memory_.scales[thread_.reads()] = r;
  }

  // Row b of what step t multiplies: d g, or the state from outside.
  __device__ void stage(std::int64_t t, int b, int end, int start, int length) {
    float* to = memory_.staged + thread_.reads() * length;
    const float* d = t > a_.span.from ? values(t - 1) : a_.span.before;
#pragma unroll 4
    for (int k = thread_.reads_from(); k < length; k += Thread<kColumns>::kReadsStep) {
      float4 x = zeros();
      if (b < end && t == 0) {
        x = state(b, start + k);
      } else if (b < end) {
        const float4 g = load_four(memory_.gains + start + k);
        x = load_four(d + static_cast<std::int64_t>(b) * sizes_.stride + start + k);
        x = make_float4(x.x * g.x, x.y * g.y, x.z * g.z, x.w * g.w);
      }
      store_four(to + k, x);
    }
  }

  __device__ float4 state(int b, int k) const {
    const float* row = run_.state + static_cast<std::int64_t>(b) * sizes_.neurons;
    const int n = sizes_.neurons;
    return make_float4(k < n ? row[k] : 0.0F, k + 1 < n ? row[k + 1] : 0.0F, k + 2 < n ? row[k + 2] : 0.0F, k + 3 < n ? row[k + 3] : 0.0F);
  }

  // I_t of one neuron.
  __device__ float entering(std::int64_t t, int b, int column) const {
    const std::int64_t frame = frame_at(run_, t);
    if (frame < 0) return 0.0F;
    const float* drive = run_.drive + (b * run_.frames + frame) * run_.inputs;
    if (a_.span.first == nullptr) return drive[column];
    float sum = 0.0F;
    for (std::int64_t i = a_.span.first[column]; i < a_.span.first[column + 1]; ++i) sum += drive[a_.span.order[i]];
    return sum;
  }

  __device__ void make(std::int64_t t, int tile, int b, int column, int end, float s) {
    float d = 0.0F;
    if (b < end && column < sizes_.neurons && keeps(sizes_.dropout, column, b, static_cast<int>(t))) {
      d = activate(run_.activation, s);
      if (sizes_.dropout.threshold != 0) d *= sizes_.dropout.scale;
    }
    const float squares = sum_of_lanes<kColumns>(d * d);
    if (b >= end) return;
    const std::int64_t place = static_cast<std::int64_t>(b) * sizes_.stride + column;
    values(t)[place] = d;
    if (a_.to.sums != nullptr) a_.to.sums[(t - a_.span.from) * sizes_.slot() + place] = s;
    if (thread_.index % kColumns == 0) a_.span.partials[(t % 2 * sizes_.batch + b) * sizes_.tiles + tile] = squares;
  }

  // h that step t ended with, to whom it may concern; the thread wrote d itself.
  __device__ void deliver(std::int64_t t, int b, int column, float r) {
    if (column == 0) a_.span.scales[t * sizes_.batch + b] = r;
    const std::int64_t count = collected_at(run_, t);
    const bool collects = count >= 0 && a_.to.states != nullptr, ends = t + 1 == run_.steps && a_.to.final != nullptr;
    if (!collects && !ends) return;
    const float h = values(t)[static_cast<std::int64_t>(b) * sizes_.stride + column] * r * memory_.gains[column];
    if (collects) a_.to.states[(b * (run_.steps / run_.collect) + count) * sizes_.neurons + column] = h;
    if (ends) a_.to.final[static_cast<std::int64_t>(b) * sizes_.neurons + column] = h;
  }

  const ForwardArguments& a_;
  const RecurrentRun& run_;
  const Sizes& sizes_;
  const Memory<kColumns> memory_;
  const Thread<kColumns> thread_;
};

template <int kColumns, bool kResident>
__global__ void __launch_bounds__(kThreads, 1) forward_kernel(ForwardArguments arguments) {
  Forward<kColumns, kResident> forward(arguments);
  forward();
}

struct ForwardKernels {
  template <int kColumns, bool kResident>
  static auto get() {
    return &forward_kernel<kColumns, kResident>;
  }
};

}  // namespace

Status recurrent_forward(const RecurrentSpan& span, const RecurrentOutputs& to, void* stream) {
  if (span.run.batch == 0) return {};
  return launch_best<ForwardKernels>(ForwardArguments{span, to, sizes_of(span.run)}, stream);
}

}  // namespace quintet::cuda
