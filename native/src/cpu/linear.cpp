// The linear operation of every level: activations are prepared once, then each thread takes whole blocks of rows.
#include "quintet/linear.hpp"

#include "blocks.hpp"
#include "quintet/pool.hpp"

namespace quintet {
namespace {

void prepare_token(const float* x, std::int64_t t, const Prepared<float>& out) {
  const Groups& groups = out.groups;
  for (std::int64_t g = 0; g < groups.count; ++g) std::copy_n(x + g * groups.length, groups.length, out.framed(t, g));
}

void prepare_token(const float* x, std::int64_t t, const Prepared<std::int8_t>& out) {
  const Groups& groups = out.groups;
  const float peak = kernels().peak(x, groups.count * groups.length);
  for (std::int64_t g = 0; g < groups.count; ++g) {
    const std::int32_t sum = kernels().round(x + g * groups.length, groups.length, peak, out.framed(t, g));
    out.token(t, g) = {peak / 127.0F, sum};
  }
}

template <class X, class T>
void run(const Linear& linear, const T* x, std::int64_t tokens, int threads, T* y) {
  if (tokens == 0) return;  // `y` may be null, which no offset may be added to
  const auto [rows, columns] = std::pair(linear.weights.rows, linear.weights.columns);
  const Prepared<X> prepared(tokens, Groups(linear));
  parallel(useful(threads, tokens * columns), tokens, [&, width = columns](std::int64_t begin, std::int64_t end) {
    const Buffer<float> space(width);
    for (std::int64_t t = begin; t < end; ++t) prepare_token(as_floats(x + t * width, width, space.get()), t, prepared);
  });
  parallel(useful(threads, tokens * rows * columns), blocks(rows), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t block = begin; block < end; ++block) multiply_block(linear, block, prepared, tokens, y);
  });
}

}  // namespace

const Kernels& kernels() {
#if defined(__x86_64__)
  switch (level()) {
    case Level::kAvx512: return kAvx512Kernels;
    case Level::kAvx2: return kAvx2Kernels;
    case Level::kScalar: break;
  }
#endif
  return kScalarKernels;
}

Scratch& scratch() {
  thread_local Scratch mine;
  return mine;
}

template <class T>
void multiply(const Linear& linear, const T* x, std::int64_t tokens, Activations activations, int threads, T* y) {
  if (activations == Activations::kInt8) {
    run<std::int8_t>(linear, x, tokens, threads, y);
  } else {
    run<float>(linear, x, tokens, threads, y);
  }
}

template void multiply(const Linear&, const float*, std::int64_t, Activations, int, float*);
template void multiply(const Linear&, const Bfloat16*, std::int64_t, Activations, int, Bfloat16*);

}  // namespace quintet
