// Sparse connections forwards: a column's 16 targets are a small product over rows of x, read where they lie.
#pragma once

#include "fan_in_parts.hpp"

namespace quintet::QUINTET_NAMESPACE {

// sums[i] = w[i][0] x[from[0]] + ... for `rows` targets. Line `ahead` of each row that the next column reads is asked for meanwhile.
template <int rows, int vectors>
inline void column_product(const float* weight, std::int64_t fan, const float* x, std::int64_t step, const std::int32_t* from,
                           const std::int32_t* later, int ahead, float* sums) {
  F16 sum[rows][vectors];
#pragma GCC unroll 4
  for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) sum[i][v] = F16(0.0f);
  }
  for (std::int64_t k = 0; k < fan; ++k) {
    __builtin_prefetch(x + later[k] * step + 16 * ahead, 0, 2);
    const float* row = x + from[k] * step;
    F16 part[vectors];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) part[v] = load(row + 16 * v);
#pragma GCC unroll 4
    for (int i = 0; i < rows; ++i) {
      const F16 w(weight[i * fan + k]);
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) sum[i][v] = fma(w, part[v], sum[i][v]);
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) store(sums + i * kStrip + 16 * v, sum[i][v]);
  }
}

class FanInForward : Columns {
 public:
  explicit FanInForward(const FanIn& run) : Columns(run), past_(run.batch * run.outputs >= kPast && run.outputs % 16 == 0) {}

  void operator()(float* y) {
    if (run_.batch == 0) return;
    turned_ = Scratch::of(turned_size());
    parallel(run_.threads, groups_, [&](std::int64_t begin, std::int64_t end) { turn(16 * begin, 16 * end, turned_); });
    const bool past = past_ && reinterpret_cast<std::uintptr_t>(y) % 64 == 0;
    parallel(run_.threads, columns_, [&](std::int64_t begin, std::int64_t end) {
      float sums[kColumn * kStrip];
      for (std::int64_t c = begin; c < end; ++c) {
        for (std::int64_t b = 0; b < padded_; b += kStrip) {
          const int vectors = vectors_at(b);
          column(vectors, c, b, sums);
          for (int v = 0; v < vectors; ++v) put(sums + 16 * v, b + 16 * v, c, y, past);
        }
      }
      if (past) fence();
    });
  }

 private:
  // From so many numbers on y goes past the caches: its lines lie a row apart, and would drive out what the products read.
  static constexpr std::int64_t kPast = std::int64_t{1} << 20;

  void column(int vectors, std::int64_t c, std::int64_t b, float* sums) const {
    if constexpr (kPanelVectors > 1) {
      if (vectors == 4) return rounds<4>(c, b, sums);
      if (vectors == 3) return rounds<3>(c, b, sums);
      if (vectors == 2) return rounds<2>(c, b, sums);
    }
    rounds<1>(c, b, sums);
  }

  template <int vectors>
  void rounds(std::int64_t c, std::int64_t b, float* sums) const {
    const int count = targets(c);
    int i = 0;
    const auto round = [&](auto rows) {
      column_product<decltype(rows)::value, vectors>(weights(c) + i * run_.fan, run_.fan, turned_ + b, padded_, sources(c), later(c),
                                                     std::min(i / kRows, vectors - 1), sums + i * kStrip);
      i += decltype(rows)::value;
    };
    while (i + kRows <= count) round(std::integral_constant<int, kRows>());
    while (i < count) round(std::integral_constant<int, 1>());
  }

  // Sums [targets, 16] of a column into y.
  void put(const float* sums, std::int64_t b, std::int64_t c, float* y, bool past) const {
    alignas(64) float room[256];
    float* to = y + b * run_.outputs + c * kColumn;
    const int rows = rows_at(b), count = targets(c);
    if (rows == 16 && count == kColumn && !past) return transpose_16(sums, kStrip, to, run_.outputs);
    transpose_16(sums, kStrip, room, 16);
    for (int i = 0; i < rows; ++i) {
      if (past) {
        stream(to + i * run_.outputs, load(room + 16 * i));
      } else {
        std::memcpy(to + i * run_.outputs, room + 16 * i, static_cast<std::size_t>(count) * sizeof(float));
      }
    }
  }

  const bool past_;
  float* turned_ = nullptr;
};

}  // namespace quintet::QUINTET_NAMESPACE
