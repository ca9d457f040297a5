// The linear operation of every level: activations are prepared once, then each thread takes whole blocks of rows.
#include "quintet/linear.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <new>

#include "kernels.hpp"
#include "quintet/pool.hpp"

namespace quintet {
namespace {

constexpr std::int64_t kGemvTokens = 2;             // up to so many tokens each read the tiles themselves; more share a decoded panel
constexpr std::int64_t kPanelTokens = 192;          // tokens that use a panel before the next is decoded: their sums fit the L2 cache with it
constexpr std::int64_t kThreadWork = 1 << 19;       // products below which another thread costs more than it saves
constexpr std::int64_t kLanePadding = 64;           // a row of activations begins at a cache line

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

// Memory at a cache line, its content undefined.
template <class T>
class Buffer {
 public:
  explicit Buffer(std::int64_t count)
      : data_(static_cast<T*>(::operator new(static_cast<std::size_t>(std::max<std::int64_t>(1, count)) * sizeof(T), kAlignment))) {}
  T* get() const { return data_.get(); }

 private:
  static constexpr std::align_val_t kAlignment{64};
  struct Delete {
    void operator()(T* p) const { ::operator delete(p, kAlignment); }
  };
  std::unique_ptr<T, Delete> data_;
};

void to_float(const float* x, std::int64_t count, float* out) { std::memcpy(out, x, static_cast<std::size_t>(count) * sizeof(float)); }

void to_float(const Bfloat16* x, std::int64_t count, float* out) {
  for (std::int64_t i = 0; i < count; ++i) {
    const std::uint32_t bits = static_cast<std::uint32_t>(x[i].bits) << 16;
    std::memcpy(out + i, &bits, sizeof bits);
  }
}

void from_float(const float* y, std::int64_t count, float* out) { std::memcpy(out, y, static_cast<std::size_t>(count) * sizeof(float)); }

// To the nearest, ties to even; a NaN keeps a bit of its own so that it does not become infinity.
void from_float(const float* y, std::int64_t count, Bfloat16* out) {
  for (std::int64_t i = 0; i < count; ++i) {
    std::uint32_t bits;
    std::memcpy(&bits, y + i, sizeof bits);
    const std::uint32_t rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
    out[i].bits = static_cast<std::uint16_t>((bits & 0x7FFFFFFF) > 0x7F800000 ? bits >> 16 | 0x40 : rounded);
  }
}

// Activations as the kernels want them: rows of `stride` elements, zeros after the last column; `tokens` only where X is int8.
template <class X>
struct Prepared {
  Prepared(std::int64_t count, std::int64_t depth)
      : stride(divide_up(depth, kLanePadding) * kLanePadding), rows(count * stride), tokens(count) {}

  std::int64_t stride;
  Buffer<X> rows;
  Buffer<Token> tokens;
};

template <class T>
void prepare_row(const T* x, std::int64_t columns, std::int64_t t, const Prepared<float>& out) {
  float* row = out.rows.get() + t * out.stride;
  to_float(x, columns, row);
  std::fill(row + columns, row + out.stride, 0.0F);
}

template <class T>
void prepare_row(const T* x, std::int64_t columns, std::int64_t t, const Prepared<std::int8_t>& out) {
  const Buffer<float> floats(columns);
  to_float(x, columns, floats.get());
  std::int8_t* row = out.rows.get() + t * out.stride;
  out.tokens.get()[t] = kernels().quantize(floats.get(), columns, row);
  std::fill(row + columns, row + out.stride, std::int8_t{0});
}

int useful(int threads, std::int64_t work) {
  return static_cast<int>(std::clamp<std::int64_t>(work / kThreadWork, 1, std::max(1, threads)));
}

// What one thread needs to work on a block.
struct Scratch {
  Buffer<std::uint8_t> levels{Panel::kBytes};
  Buffer<std::int32_t> sums{kPanelTokens * kBlockRows};
  Buffer<float> result{kBlockRows};
};

Scratch& scratch() {
  thread_local Scratch mine;
  return mine;
}

struct Block {
  const std::uint8_t* data;
  int tiles;
  std::int64_t first, rows;
};

Block block_at(const Tiles& w, std::int64_t index) {
  const std::int64_t first = index * kBlockRows;
  return {w.data + block_offset(w.form, w.columns, index), tiles_in_block(w.form, w.rows, index), first,
          std::min<std::int64_t>(kBlockRows, w.rows - first)};
}

void multiply_panel(const Panel& panel, const std::int8_t* x, std::int64_t stride, std::int64_t tokens, bool first, std::int32_t* sums) {
  kernels().multiply(panel, x, stride, tokens, first, sums);
}

void multiply_panel(const Panel& panel, const float* x, std::int64_t stride, std::int64_t tokens, bool first, float* sums) {
  kernels().multiply_float(panel, x, stride, tokens, first, sums);
}

// sums[t][row] of a block for tokens begin..begin + tokens, panel by panel.
template <class X, class Sum>
void multiply_block(const Tiles& w, const Block& block, const Prepared<X>& x, std::int64_t begin, std::int64_t tokens, Sum* sums) {
  const std::int64_t end = depth(w.form, w.columns);
  const auto form = static_cast<std::size_t>(w.form);
  const std::uint8_t* steps = block.data;
  if (end == 0) std::fill(sums, sums + tokens * kBlockRows, Sum{0});
  for (std::int64_t k = 0; k < end; k += Panel::kColumns) {
    const Panel panel{scratch().levels.get(), block.tiles, std::min(Panel::kColumns, end - k), offset_of(w.form)};
    kernels().expand[form](steps, block.tiles, panel.columns, scratch().levels.get());
    steps += panel.columns / step_columns(w.form) * step_bytes(w.form, block.tiles);
    multiply_panel(panel, x.rows.get() + begin * x.stride + k, x.stride, tokens, k == 0, sums);
  }
}

template <class T>
void finish_token(const Linear& linear, const Block& block, const std::int32_t* sums, const Token& token, T* y) {
  float* result = scratch().result.get();
  const float* bias = linear.bias == nullptr ? nullptr : linear.bias + block.first;
  kernels().finish(sums, block.rows, offset_of(linear.weights.form), token, linear.scale + block.first, bias, result);
  from_float(result, block.rows, y + block.first);
}

template <class T>
void finish_token(const Linear& linear, const Block& block, const float* sums, const Token&, T* y) {
  float* result = scratch().result.get();
  for (std::int64_t r = 0; r < block.rows; ++r) {
    const std::int64_t row = block.first + r;
    result[r] = sums[r] * linear.scale[row];
    if (linear.bias != nullptr) result[r] += linear.bias[row];
  }
  from_float(result, block.rows, y + block.first);
}

template <class X, class Sum, class T>
void block_times_tokens(const Linear& linear, std::int64_t index, const Prepared<X>& x, std::int64_t tokens, Sum* sums, T* y) {
  const Tiles& w = linear.weights;
  const Block block = block_at(w, index);
  if constexpr (std::is_same_v<X, std::int8_t>) {
    if (tokens <= kGemvTokens && w.columns > 0) {
      for (std::int64_t t = 0; t < tokens; ++t) {
        kernels().gemv[static_cast<std::size_t>(w.form)](block.data, block.tiles, depth(w.form, w.columns), x.rows.get() + t * x.stride, sums);
        finish_token(linear, block, sums, x.tokens.get()[t], y + t * w.rows);
      }
      return;
    }
  }
  for (std::int64_t begin = 0; begin < tokens; begin += kPanelTokens) {
    const std::int64_t count = std::min(kPanelTokens, tokens - begin);
    multiply_block(w, block, x, begin, count, sums);
    for (std::int64_t t = 0; t < count; ++t) {
      finish_token(linear, block, sums + t * kBlockRows, x.tokens.get()[begin + t], y + (begin + t) * w.rows);
    }
  }
}

template <class X, class Sum, class T>
void run(const Linear& linear, const T* x, std::int64_t tokens, int threads, T* y) {
  const auto [rows, columns] = std::pair(linear.weights.rows, linear.weights.columns);
  const Prepared<X> prepared(tokens, depth(linear.weights.form, columns));
  parallel(useful(threads, tokens * columns), tokens, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t) prepare_row(x + t * columns, columns, t, prepared);
  });
  parallel(useful(threads, tokens * rows * columns), blocks(rows), [&](std::int64_t begin, std::int64_t end) {
    auto* sums = reinterpret_cast<Sum*>(scratch().sums.get());
    for (std::int64_t block = begin; block < end; ++block) block_times_tokens(linear, block, prepared, tokens, sums, y);
  });
}

}  // namespace

template <class T>
void multiply(const Linear& linear, const T* x, std::int64_t tokens, Activations activations, int threads, T* y) {
  if (activations == Activations::kInt8) {
    run<std::int8_t, std::int32_t>(linear, x, tokens, threads, y);
  } else {
    run<float, float>(linear, x, tokens, threads, y);
  }
}

template void multiply(const Linear&, const float*, std::int64_t, Activations, int, float*);
template void multiply(const Linear&, const Bfloat16*, std::int64_t, Activations, int, Bfloat16*);

}  // namespace quintet
