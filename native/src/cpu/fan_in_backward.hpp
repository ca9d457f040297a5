// Sparse connections backwards: a thread has some of the sources, and passes over all columns with those of their synapses that start there.
// So both gradients need those of y once, and only one thread adds to a number.
#pragma once

#include "fan_in_parts.hpp"

namespace quintet::QUINTET_NAMESPACE {

#if QUINTET_LEVEL == 512
constexpr int kChains = 16;  // sums of a weight gradient that are kept in registers
#else
constexpr int kChains = 4;
#endif
constexpr std::int64_t kBlock = 4;  // columns whose gradients are fetched together: a line alone of a row is slow to come

class FanInBackward : Columns {
 public:
  FanInBackward(const FanIn& run, const FanInGradients& to) : Columns(run), to_(to) {}

  void operator()() {
    if (run_.batch == 0) return clear();
    float* turned = Scratch::of(2 * turned_size());
    x_ = turned;
    sums_ = turned + turned_size();
    parallel(run_.threads, groups_, [&](std::int64_t begin, std::int64_t end) { part(16 * begin, 16 * end, turned); });
  }

 private:
  // Some columns' gradients of y: by row of the batch [strip, 16], and by target [16, strip].
  struct Wanted {
    alignas(64) float by_row[kBlock][kStrip * kColumn];
    alignas(64) float by_target[kStrip * kColumn];
  };

  // Synapses of a column that a thread has.
  struct Range {
    std::int64_t first, count;
  };

  void clear() const {
    if (to_.weight == nullptr || to_.accumulate) return;
    std::memset(to_.weight, 0, static_cast<std::size_t>(run_.outputs * run_.fan) * sizeof(float));
  }

  // Sources `first` to `last`, multiples of 16.
  void part(std::int64_t first, std::int64_t last, float* turned) const {
    if (to_.weight != nullptr) turn(first, last, turned);
    if (to_.x != nullptr) std::memset(sums_ + first * padded_, 0, static_cast<std::size_t>((last - first) * padded_) * sizeof(float));
    const Buffer<float> chains(kBlock * (run_.fan + 16) * 16), gathered(16 * kStrip);
    const Buffer<float*> rows(run_.fan);
    const Buffer<Wanted> wanted(1);
    for (std::int64_t c = 0; c < columns_; c += kBlock) {
      const std::int64_t count = std::min(kBlock, columns_ - c);
      Range ranges[kBlock];
      for (std::int64_t i = 0; i < count; ++i) ranges[i] = range(c + i, first, last);
      if (run_.batch > kStrip) std::memset(chains.get(), 0, static_cast<std::size_t>(kBlock * (run_.fan + 16) * 16) * sizeof(float));
      for (std::int64_t b = 0; b < run_.batch; b += kStrip) {
        take(c, count, b, wanted.get());
        for (std::int64_t i = 0; i < count; ++i) {
          float* own = chains.get() + i * (run_.fan + 16) * 16;
          if (to_.weight != nullptr) to_weight(c + i, ranges[i], b, wanted.get()->by_row[i], gathered.get(), own);
          if (to_.x != nullptr) to_x(c + i, ranges[i], b, wanted.get(), i, rows.get());
        }
      }
      for (std::int64_t i = 0; i < count && to_.weight != nullptr; ++i) give(chains.get() + i * (run_.fan + 16) * 16, c + i, ranges[i]);
    }
    if (to_.x != nullptr) turn_back(to_.x, first, std::min(last, run_.inputs));
  }

  Range range(std::int64_t column, std::int64_t first, std::int64_t last) const {
    const std::int32_t *from = sources(column), *end = from + run_.fan;
    const std::int64_t k = std::lower_bound(from, end, first) - from;
    return {k, std::lower_bound(from + k, end, last) - from - k};
  }

  // The gradient of y at the targets of some columns, with zeros in the padding.
  void take(std::int64_t column, std::int64_t count, std::int64_t b, Wanted* to) const {
    const std::int64_t padded = 16 * vectors_at(b), rows = std::min(padded, run_.batch - b);
    for (std::int64_t r = 0; r < padded; ++r) {
      const float* from = to_.y + (b + r) * run_.outputs + column * kColumn;
      for (std::int64_t i = 0; i < count; ++i) {
        float* own = to->by_row[i] + 16 * r;
        const std::int64_t known = r < rows ? targets(column + i) : 0;
        if (known == kColumn) {
          store(own, load(from + 16 * i));
        } else {
          std::memset(own, 0, 16 * sizeof(float));
          if (known > 0) std::memcpy(own, from + 16 * i, static_cast<std::size_t>(known) * sizeof(float));
        }
      }
    }
  }

  // Sums [synapses, 16] over the batch, some rows of it more; those of the first rows begin at zero.
  void to_weight(std::int64_t column, Range range, std::int64_t b, const float* wanted, float* gathered, float* chains) const {
    const std::int64_t rows = std::min<std::int64_t>(kStrip, run_.batch - b);
    const int vectors = vectors_at(b);
    const std::int32_t *from = sources(column) + range.first, *next = later(column) + range.first;
    for (std::int64_t k = 0; k < range.count; k += 16) {
      const std::int64_t count = std::min<std::int64_t>(16, range.count - k);
      for (std::int64_t j = 0; j < 16; ++j) {
        const std::int64_t own = k + std::min(j, count - 1);  // a synapse that is not there computes what nobody reads
        const float *row = x_ + from[own] * padded_ + b, *soon = x_ + next[own] * padded_ + b;
        for (int v = 0; v < vectors; ++v) {
          __builtin_prefetch(soon + 16 * v, 0, 2);
          store(gathered + j * kStrip + 16 * v, load(row + 16 * v));
        }
      }
      for (std::int64_t j = 0; j < 16; j += kChains) chain(gathered + j * kStrip, wanted, rows, b > 0, chains + (k + j) * 16);
    }
  }

  static void chain(const float* x, const float* wanted, std::int64_t rows, bool more, float* chains) {
    F16 sum[kChains];
#pragma GCC unroll 16
    for (int j = 0; j < kChains; ++j) sum[j] = more ? load(chains + 16 * j) : F16(0.0f);
    for (std::int64_t b = 0; b < rows; ++b) {
      const F16 y = load(wanted + 16 * b);
#pragma GCC unroll 16
      for (int j = 0; j < kChains; ++j) sum[j] = fma(F16(x[j * kStrip + b]), y, sum[j]);
    }
#pragma GCC unroll 16
    for (int j = 0; j < kChains; ++j) store(chains + 16 * j, sum[j]);
  }

  void give(const float* chains, std::int64_t column, Range range) const {
    alignas(64) float block[256];
    const int rows = targets(column);
    for (std::int64_t k = 0; k < range.count; k += 16) {
      transpose_16(chains + k * 16, 16, block, 16);
      const std::int64_t count = std::min<std::int64_t>(16, range.count - k);
      for (int i = 0; i < rows; ++i) {
        float* row = to_.weight + (column * kColumn + i) * run_.fan + range.first + k;
        if (count == 16) {
          const F16 x = load(block + 16 * i);
          store(row, to_.accumulate ? load(row) + x : x);
          continue;
        }
        for (std::int64_t j = 0; j < count; ++j) row[j] = to_.accumulate ? row[j] + block[16 * i + j] : block[16 * i + j];
      }
    }
  }

  // A column more for the sums of its sources.
  void to_x(std::int64_t column, Range range, std::int64_t b, Wanted* wanted, std::int64_t place, float** rows) const {
    const int vectors = vectors_at(b);
    for (int v = 0; v < vectors; ++v) transpose_16(wanted->by_row[place] + 256 * v, 16, wanted->by_target + 16 * v, kStrip);
    const std::int32_t *from = sources(column) + range.first, *next = later(column) + range.first;
    for (std::int64_t k = 0; k < range.count; ++k) {
      rows[k] = sums_ + from[k] * padded_ + b;
      for (int v = 0; v < vectors; ++v) __builtin_prefetch(sums_ + next[k] * padded_ + b + 16 * v, 1, 2);
    }
    strip_products(vectors, weights(column) + range.first, run_.fan, 1, wanted->by_target, targets(column), rows,
                   static_cast<int>(range.count), true);
  }

  void turn_back(float* x, std::int64_t first, std::int64_t last) const {
    float room[256];
    for (std::int64_t b = 0; b < run_.batch; b += 16) {
      for (std::int64_t i = first; i < last; i += 16) {
        const float* sums = sums_ + i * padded_ + b;
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

  const FanInGradients to_;
  const float* x_ = nullptr;
  float* sums_ = nullptr;
};

}  // namespace quintet::QUINTET_NAMESPACE
