// What the passes over sparse connections share: small products, memory that stays, and where things lie. `strip`: so many rows of the batch
// as a product keeps in registers.
#pragma once

#include "quintet/fan_in.hpp"
#include "transpose.hpp"
#include "vector.hpp"

namespace quintet::QUINTET_NAMESPACE {

constexpr int kStrip = 16 * kPanelVectors, kRows = 4;
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

// The columns of a connection, and its inputs (or their gradient) as rows of the batch.
class Columns {
 protected:
  explicit Columns(const FanIn& run)
      : run_(run), padded_((run.batch + 15) / 16 * 16), columns_((run.outputs + kColumn - 1) / kColumn), groups_((run.inputs + 15) / 16) {}

  int targets(std::int64_t column) const { return static_cast<int>(std::min(kColumn, run_.outputs - column * kColumn)); }
  int vectors_at(std::int64_t b) const { return static_cast<int>(std::min<std::int64_t>(kStrip, padded_ - b) / 16); }
  int rows_at(std::int64_t b) const { return static_cast<int>(std::min<std::int64_t>(16, run_.batch - b)); }
  const float* weights(std::int64_t column) const { return run_.weight + column * kColumn * run_.fan; }
  const std::int32_t* sources(std::int64_t column) const { return run_.sources + column * run_.fan; }
  // The next column's; the last one's own.
  const std::int32_t* later(std::int64_t column) const { return sources(std::min(column + 1, columns_ - 1)); }
  std::int64_t turned_size() const { return 16 * groups_ * padded_; }

  // Columns `first` to `last` of x [B, K], multiples of 16, as rows of the batch [K, padded B], with zeros in the padding.
  void turn(std::int64_t first, std::int64_t last, float* to) const {
    float room[16];
    for (std::int64_t b = 0; b < padded_; b += 16) {
      for (std::int64_t i = first; i < last; i += 16) {
        const int count = static_cast<int>(std::min<std::int64_t>(16, run_.inputs - i));
        transpose_part(run_.x + b * run_.inputs + i, run_.inputs, rows_at(b), count, to + i * padded_ + b, padded_, room);
      }
    }
  }

  const FanIn run_;
  const std::int64_t padded_, columns_, groups_;
};

}  // namespace quintet::QUINTET_NAMESPACE
