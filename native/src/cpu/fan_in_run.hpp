// Sparse connections, column by column: the rows of x (or of its gradient) that a column reads are brought together, and then it is a small
// product. `strip`: so many rows of the batch as a product keeps in registers.
#pragma once

#include "quintet/fan_in.hpp"
#include "transpose.hpp"
#include "vector.hpp"

namespace quintet::QUINTET_NAMESPACE {

constexpr int kStrip = 16 * kPanelVectors, kRows = 4;
#if QUINTET_LEVEL == 512
constexpr int kChains = 16;  // sums of a weight gradient that are kept in registers
#else
constexpr int kChains = 4;
#endif

// sum[i] (+)= left[0][i] right[0] + ... over `length`, for `rows` rows of left; the three steps are those of left along both, and of sum.
template <int rows, int vectors>
inline void small_product(const float* left, std::int64_t inner, std::int64_t outer, const float* right, std::int64_t length,
                          float* const* to, bool accumulate) {
  F16 sum[rows][vectors];
#pragma GCC unroll 4
  for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) sum[i][v] = accumulate ? load(to[i] + 16 * v) : F16(0.0f);
  }
  for (std::int64_t k = 0; k < length; ++k) {
    F16 x[vectors];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) x[v] = load(right + k * kStrip + 16 * v);
#pragma GCC unroll 4
    for (int i = 0; i < rows; ++i) {
      const F16 w(left[k * inner + i * outer]);
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) sum[i][v] = fma(w, x[v], sum[i][v]);
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) store(to[i] + 16 * v, sum[i][v]);
  }
}

template <int vectors>
inline void products(const float* left, std::int64_t inner, std::int64_t outer, const float* right, std::int64_t length, float* const* to,
                     int rows, bool accumulate) {
  int i = 0;
  for (; i + kRows <= rows; i += kRows) small_product<kRows, vectors>(left + i * outer, inner, outer, right, length, to + i, accumulate);
  for (; i < rows; ++i) small_product<1, vectors>(left + i * outer, inner, outer, right, length, to + i, accumulate);
}

// Rows of `to` from the product of left [rows, length] (with these steps) and right [length, strip], of which `vectors` vectors count.
inline void strip_products(int vectors, const float* left, std::int64_t inner, std::int64_t outer, const float* right, std::int64_t length,
                           float* const* to, int rows, bool accumulate) {
  if constexpr (kPanelVectors > 1) {
    if (vectors == 4) return products<4>(left, inner, outer, right, length, to, rows, accumulate);
    if (vectors == 3) return products<3>(left, inner, outer, right, length, to, rows, accumulate);
    if (vectors == 2) return products<2>(left, inner, outer, right, length, to, rows, accumulate);
  }
  products<1>(left, inner, outer, right, length, to, rows, accumulate);
}

// Memory that a thread keeps for its next call, in pages as large as there are: rows are read from all over it.
class Scratch {
 public:
  static float* of(std::int64_t count) {
    static thread_local Scratch own;
    if (count > own.count_) own.grow(count);
    return own.data_.get();
  }

 private:
  static constexpr std::size_t kPage = std::size_t{1} << 21;
  struct Free {
    void operator()(float* p) const { ::operator delete(p, std::align_val_t{kPage}); }
  };

  void grow(std::int64_t count) {
    const std::size_t bytes = (static_cast<std::size_t>(count) * sizeof(float) + kPage - 1) / kPage * kPage;
    data_.reset();
    data_.reset(static_cast<float*>(::operator new(bytes, std::align_val_t{kPage})));
    count_ = static_cast<std::int64_t>(bytes / sizeof(float));
#if defined(__linux__)
    madvise(data_.get(), bytes, MADV_HUGEPAGE);  // a wish: small pages do too
#endif
  }

  std::unique_ptr<float, Free> data_;
  std::int64_t count_ = 0;
};

class FanInRun {
 public:
  explicit FanInRun(const FanIn& run)
      : run_(run), padded_((run.batch + 15) / 16 * 16), columns_((run.outputs + kColumn - 1) / kColumn),
        groups_((run.inputs + 15) / 16) {}

  void forward(float* y) {
    if (run_.batch == 0) return;
    turn_input();
    parallel(run_.threads, columns_, [&](std::int64_t begin, std::int64_t end) {
      const Buffer<float> gathered(run_.fan * kStrip);
      float sums[kColumn * kStrip], room[256];
      float* rows[kColumn];
      for (int i = 0; i < kColumn; ++i) rows[i] = sums + i * kStrip;
      for (std::int64_t c = begin; c < end; ++c) {
        const int count = targets(c);
        for (std::int64_t b = 0; b < padded_; b += kStrip) {
          const int vectors = vectors_at(b);
          gather(c, b, vectors, gathered.get());
          strip_products(vectors, weights(c), 1, run_.fan, gathered.get(), run_.fan, rows, count, false);
          for (int v = 0; v < vectors; ++v) put(sums + 16 * v, b + 16 * v, c, count, y, room);
        }
      }
    });
  }

  void backward(const FanInGradients& to) {
    if (to.weight != nullptr) {
      if (run_.batch > 0) turn_input();
      parallel(run_.threads, columns_, [&](std::int64_t begin, std::int64_t end) { weight_gradient(to, begin, end); });
    }
    if (to.x != nullptr && run_.batch > 0) {
      turned_ = Scratch::of(16 * groups_ * padded_);
      parallel(run_.threads, groups_, [&](std::int64_t begin, std::int64_t end) { input_gradient(to, 16 * begin, 16 * end); });
    }
  }

 private:
  int targets(std::int64_t column) const { return static_cast<int>(std::min(kColumn, run_.outputs - column * kColumn)); }
  int vectors_at(std::int64_t b) const { return static_cast<int>(std::min<std::int64_t>(kStrip, padded_ - b) / 16); }
  int rows_at(std::int64_t b) const { return static_cast<int>(std::min<std::int64_t>(16, run_.batch - b)); }
  const float* weights(std::int64_t column) const { return run_.weight + column * kColumn * run_.fan; }
  const std::int32_t* sources(std::int64_t column) const { return run_.sources + column * run_.fan; }

  // x [B, K] as rows of the batch [K, padded B], with zeros in the padding.
  void turn_input() {
    turned_ = Scratch::of(16 * groups_ * padded_);
    parallel(run_.threads, groups_, [&](std::int64_t begin, std::int64_t end) {
      float room[16];
      for (std::int64_t b = 0; b < padded_; b += 16) {
        for (std::int64_t i = 16 * begin; i < 16 * end; i += 16) {
          const int count = static_cast<int>(std::min<std::int64_t>(16, run_.inputs - i));
          transpose_part(run_.x + b * run_.inputs + i, run_.inputs, rows_at(b), count, turned_ + i * padded_ + b, padded_, room);
        }
      }
    });
  }

  // The rows of x that a column reads, beside each other; those of the next column are asked for meanwhile.
  void gather(std::int64_t column, std::int64_t b, int vectors, float* to) const {
    const std::int32_t* from = sources(column);
    const std::int32_t* next = column + 1 < columns_ ? from + run_.fan : from;
    for (std::int64_t k = 0; k < run_.fan; ++k) {
      const float* row = turned_ + from[k] * padded_ + b;
      const float* later = turned_ + next[k] * padded_ + b;
      for (int v = 0; v < vectors; ++v) {
        __builtin_prefetch(later + 16 * v, 0, 2);
        store(to + k * kStrip + 16 * v, load(row + 16 * v));
      }
    }
  }

  // Sums [targets, 16] of a column into y.
  void put(const float* sums, std::int64_t b, std::int64_t column, int count, float* y, float* room) const {
    float* to = y + b * run_.outputs + column * kColumn;
    const int rows = rows_at(b);
    if (rows == 16 && count == kColumn) return transpose_16(sums, kStrip, to, run_.outputs);
    transpose_16(sums, kStrip, room, 16);
    for (int i = 0; i < rows; ++i) std::memcpy(to + i * run_.outputs, room + 16 * i, static_cast<std::size_t>(count) * sizeof(float));
  }

  void weight_gradient(const FanInGradients& to, std::int64_t begin, std::int64_t end) const {
    const Buffer<float> gathered(run_.fan * kStrip), chains(run_.fan * 16);
    float wanted[kStrip * 16];
    for (std::int64_t c = begin; c < end; ++c) {
      std::memset(chains.get(), 0, static_cast<std::size_t>(run_.fan) * 16 * sizeof(float));
      for (std::int64_t b = 0; b < run_.batch; b += kStrip) {
        const std::int64_t rows = std::min<std::int64_t>(kStrip, run_.batch - b);
        gather(c, b, vectors_at(b), gathered.get());
        take(to.y, b, c, rows, wanted);
        for (std::int64_t k = 0; k < run_.fan; k += kChains) chain(gathered.get() + k * kStrip, wanted, rows, chains.get() + k * 16);
      }
      give(chains.get(), c, to);
    }
  }

  // The gradient of y at a column's targets [rows, 16].
  void take(const float* y, std::int64_t b, std::int64_t column, std::int64_t rows, float* to) const {
    const int count = targets(column);
    for (std::int64_t i = 0; i < rows; ++i) {
      const float* from = y + (b + i) * run_.outputs + column * kColumn;
      if (count == kColumn) {
        store(to + 16 * i, load(from));
      } else {
        std::memset(to + 16 * i, 0, 16 * sizeof(float));
        std::memcpy(to + 16 * i, from, static_cast<std::size_t>(count) * sizeof(float));
      }
    }
  }

  // Some rows of the batch more for the sums [kChains, 16] over it.
  static void chain(const float* x, const float* wanted, std::int64_t rows, float* chains) {
    F16 sum[kChains];
#pragma GCC unroll 16
    for (int j = 0; j < kChains; ++j) sum[j] = load(chains + 16 * j);
    for (std::int64_t b = 0; b < rows; ++b) {
      const F16 y = load(wanted + 16 * b);
#pragma GCC unroll 16
      for (int j = 0; j < kChains; ++j) sum[j] = fma(F16(x[j * kStrip + b]), y, sum[j]);
    }
#pragma GCC unroll 16
    for (int j = 0; j < kChains; ++j) store(chains + 16 * j, sum[j]);
  }

  void give(const float* chains, std::int64_t column, const FanInGradients& to) const {
    float block[256];
    for (std::int64_t k = 0; k < run_.fan; k += 16) {
      transpose_16(chains + k * 16, 16, block, 16);
      for (int i = 0; i < targets(column); ++i) {
        float* row = to.weight + (column * kColumn + i) * run_.fan + k;
        const F16 x = load(block + 16 * i);
        store(row, to.accumulate ? load(row) + x : x);
      }
    }
  }

  // The gradient of sources `first` to `last`: only this thread adds to theirs, column after column.
  void input_gradient(const FanInGradients& to, std::int64_t first, std::int64_t last) const {
    float* sums = turned_;
    std::memset(sums + first * padded_, 0, static_cast<std::size_t>((last - first) * padded_) * sizeof(float));
    const Buffer<float*> rows(run_.fan);
    float wanted[kColumn * kStrip], room[16];
    for (std::int64_t c = 0; c < columns_; ++c) {
      const std::int32_t *from = sources(c), *end = from + run_.fan;
      const std::int64_t k = std::lower_bound(from, end, first) - from, count = std::lower_bound(from, end, last) - from - k;
      if (count == 0) continue;
      for (std::int64_t b = 0; b < padded_; b += kStrip) {
        const int vectors = vectors_at(b);
        for (int v = 0; v < vectors; ++v) {
          const float* y = to.y + (b + 16 * v) * run_.outputs + c * kColumn;
          transpose_part(y, run_.outputs, rows_at(b + 16 * v), targets(c), wanted + 16 * v, kStrip, room);
        }
        const std::int32_t* next = c + 1 < columns_ ? from + run_.fan : from;  // probably the next column's
        for (std::int64_t i = 0; i < count; ++i) {
          rows.get()[i] = sums + from[k + i] * padded_ + b;
          for (int v = 0; v < vectors; ++v) __builtin_prefetch(sums + next[k + i] * padded_ + b + 16 * v, 1, 2);
        }
        strip_products(vectors, weights(c) + k, run_.fan, 1, wanted, targets(c), rows.get(), static_cast<int>(count), true);
      }
    }
    turn_back(to.x, first, std::min(last, run_.inputs));
  }

  void turn_back(float* x, std::int64_t first, std::int64_t last) const {
    float room[256];
    for (std::int64_t b = 0; b < run_.batch; b += 16) {
      for (std::int64_t i = first; i < last; i += 16) {
        const float* sums = turned_ + i * padded_ + b;
        float* to = x + b * run_.inputs + i;
        const int rows = rows_at(b);
        const std::int64_t count = std::min<std::int64_t>(16, last - i);
        if (rows == 16 && count == 16) {
          transpose_16(sums, padded_, to, run_.inputs);
          continue;
        }
        transpose_16(sums, padded_, room, 16);
        for (int r = 0; r < rows; ++r) std::memcpy(to + r * run_.inputs, room + 16 * r, static_cast<std::size_t>(count) * sizeof(float));
      }
    }
  }

  const FanIn run_;
  const std::int64_t padded_, columns_, groups_;
  float* turned_ = nullptr;
};

inline void run_fan_in_forward(const FanIn& run, float* y) { FanInRun(run).forward(y); }

inline void run_fan_in_backward(const FanIn& run, const FanInGradients& gradients) { FanInRun(run).backward(gradients); }

}  // namespace quintet::QUINTET_NAMESPACE
