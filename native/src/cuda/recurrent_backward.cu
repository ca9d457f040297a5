// The steps of a span from the last to the first. With G the gradient of h_{t+1} from outside and x what comes by way of step t + 1:
//
//   v = r g (x + G),   dL/dd = v - d r^2 (v . d) / n,   e = dL/dd m,   m = mask * slope,   x of the step before = e W^T
//
// v . d is known when the grid has met, so the owner of a column leaves v m and d m, and whoever reads them makes e of the two.
#include "recurrent.cuh"

namespace quintet::cuda {

namespace {

struct BackwardArguments {
  RecurrentSpan span;
  RecurrentErrors to;
  Sizes sizes;
  bool sums;  // whether s was kept, not d
};

template <int kColumns, bool kResident>
class Backward {
 public:
  __device__ explicit Backward(const BackwardArguments& arguments)
      : a_(arguments), run_(arguments.span.run), sizes_(arguments.sizes), memory_(Memory<kColumns>::of_block(sizes_.stride)) {}

  __device__ void operator()() {
    bring<kColumns, kResident>(memory_, sizes_, run_.gain, a_.to.transposed);
    over_work(sizes_, [&](int tile, int first, int end) { begin(tile, first, end); });
    for (std::int64_t t = a_.span.to - 1; t >= a_.span.from; --t) {
      grid_sync();
      over_work(sizes_, [&](int tile, int first, int end) { work(t, tile, first, end); });
    }
  }

 private:
  // What a thread needs of its own neuron to end a step, read before the product that takes the time.
  struct Own {
    float kept, scale, outside;
  };

  __device__ std::int64_t place(int b, int column) const { return static_cast<std::int64_t>(b) * sizes_.stride + column; }
  // v m at `which` 0, d m at 1, of step t.
  __device__ float* products(std::int64_t t, int which) const { return a_.to.products + (t % 2 * 2 + which) * sizes_.slot(); }
  __device__ float* partials(std::int64_t t, int b) const { return a_.span.partials + (t % 2 * sizes_.batch + b) * sizes_.tiles; }

  __device__ void begin(int tile, int first, int end) {
    const int b = first + thread_.row(), column = tile * kColumns + thread_.index % kColumns;
    if (!thread_.owns()) return;
    const bool inside = b < end && column < sizes_.neurons;
    const Own own = inside ? read(a_.span.to - 1, b, column) : Own{};
    pass(a_.span.to - 1, tile, b, column, end, own, b < end ? a_.to.carried[place(b, column)] : 0.0F);
  }

  // Errors of step t, and what they give the step before.
  __device__ void work(std::int64_t t, int tile, int first, int end) {
    const int b = first + thread_.row(), column = tile * kColumns + thread_.index % kColumns;
    const bool inside = thread_.owns() && b < end && column < sizes_.neurons;
    const Own own = inside && t > a_.span.from ? read(t - 1, b, column) : Own{};
    const int reads = first + thread_.reads();
    const float along = reads < end ? along_of(t, reads) : 0.0F;
    const float x = product<kColumns, kResident>(memory_, sizes_, a_.to.transposed, tile, [&](int start, int length) {
      stage(t, tile, reads, end, along, start, length);
    });
    if (thread_.owns()) {
      if (t > a_.span.from) {
        pass(t - 1, tile, b, column, end, own, x);
      } else if (b < end) {
        a_.to.carried[place(b, column)] = x;
      }
    }
    __syncthreads();
  }

  // - r^2 (v . d) / n
  __device__ float along_of(std::int64_t t, int b) const {
    const float r = a_.span.scales[t * sizes_.batch + b];
    return -(r * r * sum_of_tiles(partials(t, b), sizes_.tiles, thread_.lane) / static_cast<float>(sizes_.neurons));
  }

  // Errors of row b; those of the block's own columns are also given out.
  __device__ void stage(std::int64_t t, int tile, int b, int end, float along, int start, int length) {
    const std::int64_t frame = frame_at(run_, t);
    float* to = memory_.staged + thread_.reads() * length;
    const float *by_v = products(t, 0), *by_d = products(t, 1);
#pragma unroll 2
    for (int k = thread_.reads_from(); k < length; k += Thread<kColumns>::kReadsStep) {
      float4 e = zeros();
      if (b < end) {
        const float4 v = load_four(by_v + place(b, start + k)), d = load_four(by_d + place(b, start + k));
        e = make_float4(fmaf(along, d.x, v.x), fmaf(along, d.y, v.y), fmaf(along, d.z, v.z), fmaf(along, d.w, v.w));
      }
      store_four(to + k, e);
      if (b < end && (start + k) / kColumns == tile) give(t, frame, b, start + k, e);
    }
  }

  __device__ void give(std::int64_t t, std::int64_t frame, int b, int column, float4 e) {
    store_four(a_.to.errors + (t - a_.span.from) * sizes_.slot() + place(b, column), e);
    if (frame < 0) return;
    float* sums = a_.to.drive + frame * sizes_.slot() + place(b, column);
    const float4 before = load_four(sums);
    store_four(sums, make_float4(before.x + e.x, before.y + e.y, before.z + e.z, before.w + e.w));
  }

  __device__ Own read(std::int64_t t, int b, int column) const {
    Own own{a_.to.kept[(t - a_.span.from) * sizes_.slot() + place(b, column)], a_.span.scales[t * sizes_.batch + b], 0.0F};
    const std::int64_t count = collected_at(run_, t);
    const std::int64_t n = sizes_.neurons;
    if (a_.to.states != nullptr && count >= 0) own.outside = a_.to.states[(b * (run_.steps / run_.collect) + count) * n + column];
    if (a_.to.final != nullptr && t + 1 == run_.steps) own.outside += a_.to.final[b * n + column];
    return own;
  }

  // Makes v m and d m of step t for one neuron, from x.
  __device__ void pass(std::int64_t t, int tile, int b, int column, int end, const Own& own, float x) {
    const bool inside = b < end && column < sizes_.neurons;
    float d = 0.0F, m = 0.0F;
    if (inside && keeps(sizes_.dropout, column, b, static_cast<int>(t))) {
      const bool drops = sizes_.dropout.threshold != 0;
      const float scale = drops ? sizes_.dropout.scale : 1.0F;
      d = a_.sums ? activate(run_.activation, own.kept) * scale : own.kept;
      m = slope(run_.activation, a_.sums || !drops ? own.kept : own.kept * sizes_.dropout.unscale) * scale;
    }
    const float gain = inside ? memory_.gains[column] : 0.0F, normal = d * own.scale, v = own.scale * gain * (x + own.outside);
    const float dot = sum_of_lanes<kColumns>(v * d);
    if (b >= end) return;
    if (thread_.index % kColumns == 0) partials(t, b)[tile] = dot;
    products(t, 0)[place(b, column)] = v * m;
    products(t, 1)[place(b, column)] = d * m;
    if (inside) a_.to.gains[place(b, column)] += normal * (x + own.outside);
    if (t + 1 < a_.span.to) a_.to.entering[(t + 1 - a_.span.from) * sizes_.slot() + place(b, column)] = gain * normal;
  }

  const BackwardArguments& a_;
  const RecurrentRun& run_;
  const Sizes& sizes_;
  const Memory<kColumns> memory_;
  const Thread<kColumns> thread_;
};

template <int kColumns, bool kResident>
__global__ void __launch_bounds__(kThreads, 1) backward_kernel(BackwardArguments arguments) {
  Backward<kColumns, kResident> backward(arguments);
  backward();
}

struct BackwardKernels {
  template <int kColumns, bool kResident>
  static auto get() {
    return &backward_kernel<kColumns, kResident>;
  }
};

}  // namespace

Status recurrent_backward(const RecurrentSpan& span, const RecurrentErrors& to, void* stream) {
  if (span.run.batch == 0) return {};
  return launch_best<BackwardKernels>(BackwardArguments{span, to, sizes_of(span.run), needs_sums(span.run.activation)}, stream);
}

}  // namespace quintet::cuda
