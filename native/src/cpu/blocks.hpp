// What all products with tiles share: activations as the kernels want them, and a block of rows times some tokens.
#pragma once

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "buffer.hpp"
#include "kernels.hpp"
#include "quintet/linear.hpp"

namespace quintet {

constexpr std::int64_t kGemvTokens = 2;      // up to so many tokens each read the tiles themselves; more share a decoded panel
constexpr std::int64_t kPanelTokens = 192;   // tokens that use a panel before the next is decoded: their sums fit the L2 cache with it
constexpr std::int64_t kThreadWork = 1 << 19;  // products below which another thread costs more than it saves

// Those of the level in use.
const Kernels& kernels();

inline int useful(int threads, std::int64_t work) {
  return static_cast<int>(std::clamp<std::int64_t>(work / kThreadWork, 1, std::max(1, threads)));
}

// How columns fall into groups of `length`. A group is computed from the steps of the tiles that hold it, with activations that are 0 outside
// of it: so a step that two groups share is used twice, and the order of the tiles does not depend on groups.
struct Groups {
  explicit Groups(const Linear& linear)
      : count(linear.groups), length(linear.weights.columns / linear.groups), step(step_columns(linear.weights.form)) {}

  std::int64_t first_step(std::int64_t g) const { return g * length / step; }
  std::int64_t columns(std::int64_t g) const { return (divide_up((g + 1) * length, step) - first_step(g)) * step; }
  // Columns of the first step that are before the group.
  std::int64_t lead(std::int64_t g) const { return g * length % step; }
  // At least the columns of any group.
  std::int64_t stride() const { return length % step == 0 ? length : (length / step + 2) * step; }

  std::int64_t count, length, step;
};

// Activations of some tokens: for each token and group the columns of its steps, zeros outside of the group.
template <class X>
struct Prepared {
  Prepared(std::int64_t capacity, const Groups& all)
      : groups(all), stride((divide_up(all.count * all.stride(), kLine) | 1) * kLine), rows(capacity * stride), tokens(capacity * all.count) {}

  X* row(std::int64_t t, std::int64_t g) const { return rows.get() + t * stride + g * groups.stride(); }
  Token& token(std::int64_t t, std::int64_t g) const { return tokens.get()[t * groups.count + g]; }

  // Where the group's own columns begin, after zeros have been put around them.
  X* framed(std::int64_t t, std::int64_t g) const {
    X* begin = row(t, g);
    X* own = begin + groups.lead(g);
    std::fill(begin, own, X{0});
    std::fill(own + groups.length, begin + groups.stride(), X{0});
    return own;
  }

  static constexpr std::int64_t kLine = 64;  // rows are an odd number of cache lines apart, so that they do not compete for the same ones
  Groups groups;
  std::int64_t stride;
  Buffer<X> rows;
  Buffer<Token> tokens;
};

inline const float* as_floats(const float* x, std::int64_t, float*) { return x; }

inline const float* as_floats(const Bfloat16* x, std::int64_t count, float* space) {
  for (std::int64_t i = 0; i < count; ++i) {
    const std::uint32_t bits = static_cast<std::uint32_t>(x[i].bits) << 16;
    std::memcpy(space + i, &bits, sizeof bits);
  }
  return space;
}

// What one thread needs to work on a block.
struct Scratch {
  Buffer<std::uint8_t> levels{Panel::kBytes};
  Buffer<std::int32_t> sums{kPanelTokens * kBlockRows};
  Buffer<float> results{kPanelTokens * kBlockRows};
};

Scratch& scratch();

struct Block {
  Block(const Tiles& w, std::int64_t index)
      : data(w.data + block_offset(w.form, w.columns, index)), form(w.form), tiles(tiles_in_block(w.form, w.rows, index)),
        first(index * kBlockRows), rows(std::min<std::int64_t>(kBlockRows, w.rows - first)) {}

  const std::uint8_t* step(std::int64_t s) const { return data + s * step_bytes(form, tiles); }

  const std::uint8_t* data;
  Form form;
  int tiles;
  std::int64_t first, rows;
};

inline void multiply_panel(const Panel& panel, const std::int8_t* x, std::int64_t stride, std::int64_t tokens, bool first, std::int32_t* sums) {
  kernels().multiply(panel, x, stride, tokens, first, sums);
}

inline void multiply_panel(const Panel& panel, const float* x, std::int64_t stride, std::int64_t tokens, bool first, float* sums) {
  kernels().multiply_float(panel, x, stride, tokens, first, sums);
}

// sums[t][row] of a block and a group for tokens begin..begin + tokens: token by token, or panel by panel.
template <class X, class Sum>
void sum_group(const Block& block, std::int64_t g, const Prepared<X>& x, std::int64_t begin, std::int64_t tokens, Sum* sums) {
  const std::uint8_t* steps = block.step(x.groups.first_step(g));
  const std::int64_t end = x.groups.columns(g);
  const auto form = static_cast<std::size_t>(block.form);
  if (end == 0) std::fill(sums, sums + tokens * kBlockRows, Sum{0});
  if constexpr (std::is_same_v<X, std::int8_t>) {
    if (tokens <= kGemvTokens && end > 0) {
      for (std::int64_t t = 0; t < tokens; ++t) kernels().gemv[form](steps, block.tiles, end, x.row(begin + t, g), sums + t * kBlockRows);
      return;
    }
  }
  for (std::int64_t k = 0; k < end; k += Panel::kColumns) {
    const Panel panel{scratch().levels.get(), block.tiles, std::min(Panel::kColumns, end - k), offset_of(block.form)};
    kernels().expand[form](steps, block.tiles, panel.columns, scratch().levels.get());
    steps += panel.columns / step_columns(block.form) * step_bytes(block.form, block.tiles);
    multiply_panel(panel, x.row(begin, g) + k, x.stride, tokens, k == 0, sums);
  }
}

inline void finish(const std::int32_t* sums, std::int64_t rows, int offset, const Token& token, const float* scale, const float* addend, float* y) {
  kernels().finish(sums, rows, offset, token, scale, addend, y);
}

inline void finish(const float* sums, std::int64_t rows, int, const Token&, const float* scale, const float* addend, float* y) {
  for (std::int64_t r = 0; r < rows; ++r) y[r] = (addend == nullptr ? 0 : addend[r]) + sums[r] * scale[r];
}

// Where a token's results add up: in y itself where it has their type.
inline float* results_of(float* y, std::int64_t) { return y; }
inline float* results_of(Bfloat16*, std::int64_t t) { return scratch().results.get() + t * kBlockRows; }

inline void deliver(const float*, std::int64_t, float*) {}

// To the nearest, ties to even; a NaN keeps a bit of its own so that it does not become infinity.
inline void deliver(const float* results, std::int64_t count, Bfloat16* y) {
  for (std::int64_t i = 0; i < count; ++i) {
    std::uint32_t bits;
    std::memcpy(&bits, results + i, sizeof bits);
    const std::uint32_t rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
    y[i].bits = static_cast<std::uint16_t>((bits & 0x7FFFFFFF) > 0x7F800000 ? bits >> 16 | 0x40 : rounded);
  }
}

// y[t][rows of the block] for all prepared tokens; `y` is [tokens][rows].
template <class X, class T>
void multiply_block(const Linear& linear, std::int64_t index, const Prepared<X>& x, std::int64_t tokens, T* y) {
  using Sum = std::conditional_t<std::is_same_v<X, float>, float, std::int32_t>;
  const Block block(linear.weights, index);
  const std::int64_t rows = linear.weights.rows;
  auto* sums = reinterpret_cast<Sum*>(scratch().sums.get());
  y += block.first;
  for (std::int64_t begin = 0; begin < tokens; begin += kPanelTokens, y += kPanelTokens * rows) {
    const std::int64_t count = std::min(kPanelTokens, tokens - begin);
    for (std::int64_t g = 0; g < linear.groups; ++g) {
      sum_group(block, g, x, begin, count, sums);
      const float* bias = linear.bias == nullptr ? nullptr : linear.bias + block.first;
      for (std::int64_t t = 0; t < count; ++t) {
        float* results = results_of(y + t * rows, t);
        const float* scale = linear.scale + g * rows + block.first;
        finish(sums + t * kBlockRows, block.rows, offset_of(block.form), x.token(begin + t, g), scale, g == 0 ? bias : results, results);
      }
    }
    for (std::int64_t t = 0; t < count; ++t) deliver(results_of(y + t * rows, t), block.rows, y + t * rows);
  }
}

}  // namespace quintet
