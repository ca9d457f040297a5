// The steps of a run of spiking neurons. Neurons lie in tiles [N / block, B, block].
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "buffer.hpp"
#include "product.hpp"
#include "quintet/pool.hpp"
#include "quintet/spiking.hpp"

namespace quintet::QUINTET_NAMESPACE {

struct SpikingTiles {
  std::int64_t rows, columns, width, count, slot;

  explicit SpikingTiles(const SpikingRun& run)
      : rows(run.batch), columns(run.neurons), width(run.block), count(run.neurons / run.block), slot(run.batch * run.neurons) {}
  std::int64_t step() const { return rows * width; }
  std::int64_t vectors() const { return width / 16; }
  std::int64_t at(std::int64_t tile, std::int64_t row) const { return tile * step() + row * width; }
  std::int64_t groups() const { return (rows + kPanelRows - 1) / kPanelRows; }
  std::int64_t first_row(std::int64_t group) const { return std::min(rows, group * kPanelRows); }
};

// A plain [B, N] matrix into tiles, and back.
inline void to_tiles(const SpikingTiles& tiles, const float* plain, float* tiled) {
  for (std::int64_t i = 0; i < tiles.count; ++i) {
    for (std::int64_t b = 0; b < tiles.rows; ++b)
      std::copy_n(plain + b * tiles.columns + i * tiles.width, tiles.width, tiled + tiles.at(i, b));
  }
}
inline void from_tiles(const SpikingTiles& tiles, const float* tiled, float* plain) {
  for (std::int64_t i = 0; i < tiles.count; ++i) {
    for (std::int64_t b = 0; b < tiles.rows; ++b)
      std::copy_n(tiled + tiles.at(i, b), tiles.width, plain + b * tiles.columns + i * tiles.width);
  }
}

// The blocks of W that end at each tile (or that begin there, transposed), in their given order.
class Wiring {
 public:
  Wiring(const SpikingRun& run, const SpikingTiles& tiles, bool transposed)
      : tiles_(tiles), weight_(run.weight), into_(static_cast<std::size_t>(tiles.count)) {
    const std::int64_t width = tiles.width, size = width * width;
    if (transposed) turned_ = Buffer<float>(run.blocks * size);
    for (std::int64_t k = 0; k < run.blocks; ++k) {
      const std::int64_t from = run.places[2 * k + (transposed ? 1 : 0)], to = run.places[2 * k + (transposed ? 0 : 1)];
      into_[static_cast<std::size_t>(to)].push_back({k * size, from});
      if (!transposed) continue;
      for (std::int64_t i = 0; i < width; ++i) {
        for (std::int64_t j = 0; j < width; ++j) turned_.get()[k * size + j * width + i] = run.weight[k * size + i * width + j];
      }
    }
    if (transposed) weight_ = turned_.get();
  }

  // to[rows first..last) = from W.
  void multiply(const float* from, float* to, std::int64_t first, std::int64_t last) const {
    for (std::int64_t tile = 0; tile < tiles_.count; ++tile) {
      const auto& entries = into_[static_cast<std::size_t>(tile)];
      float* target = to + tiles_.at(tile, first);
      if (entries.empty()) std::fill_n(target, (last - first) * tiles_.width, 0.0f);
      for (const Entry& entry : entries) {
        const Left left{from + tiles_.at(entry.tile, first), tiles_.width, 0, 1};
        const Right right{weight_ + entry.offset, 0, tiles_.width};
        product(left, right, 1, tiles_.width, last - first, tiles_.vectors(), target, tiles_.width, &entry != entries.data());
      }
    }
  }

  // The same for spikes, bits [tiles, rows]: the rows of W whose neuron fired are added up. The sums are those of `multiply`, bit by bit.
  template <int vectors>
  void add_events(const std::uint64_t* spikes, float* to, std::int64_t first, std::int64_t last) const {
    for (std::int64_t tile = 0; tile < tiles_.count; ++tile) {
      for (std::int64_t b = first; b < last; ++b) {
        F16 sum[vectors];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) sum[v] = F16(0.0f);
        for (const Entry& entry : into_[static_cast<std::size_t>(tile)]) {
          for (std::uint64_t bits = spikes[entry.tile * tiles_.rows + b]; bits != 0; bits &= bits - 1) {
            const float* row = weight_ + entry.offset + __builtin_ctzll(bits) * 16 * vectors;
#pragma GCC unroll 4
            for (int v = 0; v < vectors; ++v) sum[v] = sum[v] + load(row + 16 * v);
          }
        }
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) store(to + tiles_.at(tile, b) + 16 * v, sum[v]);
      }
    }
  }

  void events(const std::uint64_t* spikes, float* to, std::int64_t first, std::int64_t last) const {
    switch (tiles_.vectors()) {
      case 1: return add_events<1>(spikes, to, first, last);
      case 2: return add_events<2>(spikes, to, first, last);
      default: return add_events<4>(spikes, to, first, last);
    }
  }

 private:
  struct Entry {
    std::int64_t offset, tile;
  };
  const SpikingTiles tiles_;
  const float* weight_;
  Buffer<float> turned_;
  std::vector<std::vector<Entry>> into_;
};

// Above this share of spikes in a group of rows, a product without regard to zeros is faster.
constexpr double kDense = 0.3;

class SpikingForward {
 public:
  SpikingForward(const SpikingRun& run, float* spikes, const SpikingKept* kept)
      : run_(run), kept_(kept), out_(spikes), tiles_(run), wiring_(run, tiles_, false), state_(5 * tiles_.slot), current_(tiles_.slot),
        bits_(tiles_.count * tiles_.rows) {
    for (std::int64_t part = 0; part < 5; ++part) to_tiles(tiles_, run.state + part * tiles_.slot, state(part));
    for (std::int64_t i = 0; i < tiles_.count * tiles_.rows; ++i) {
      bits_.get()[i] = bits_of(state(2) + i * tiles_.width);
    }
  }

  void rows(std::int64_t first, std::int64_t last) const {
    for (std::int64_t t = 0; t < run_.steps; ++t) {
      couple(first, last);
      for (std::int64_t i = 0; i < tiles_.count; ++i) {
        for (std::int64_t b = first; b < last; ++b) step(t, i, b);
      }
    }
  }

  void finish(float* last) const {
    for (std::int64_t part = 0; part < 5; ++part) from_tiles(tiles_, state(part), last + part * tiles_.slot);
  }

 private:
  float* state(std::int64_t part) const { return state_.get() + part * tiles_.slot; }

  std::uint64_t bits_of(const float* z) const {
    std::uint64_t bits = 0;
    for (std::int64_t v = 0; v < tiles_.vectors(); ++v) bits |= std::uint64_t{greater(load(z + 16 * v), F16(0.0f))} << 16 * v;
    return bits;
  }

  // z W of the step before.
  void couple(std::int64_t first, std::int64_t last) const {
    std::int64_t fired = 0;
    for (std::int64_t i = 0; i < tiles_.count; ++i) {
      for (std::int64_t b = first; b < last; ++b) fired += __builtin_popcountll(bits_.get()[i * tiles_.rows + b]);
    }
    const bool dense = static_cast<double>(fired) > kDense * static_cast<double>((last - first) * tiles_.columns);
    dense ? wiring_.multiply(state(2), current_.get(), first, last) : wiring_.events(bits_.get(), current_.get(), first, last);
  }

  // One step of the neurons of one tile of one row.
  void step(std::int64_t t, std::int64_t i, std::int64_t b) const {
    const F16 zero(0.0f), one(1.0f), rho(run_.rho), rest(1.0f - run_.rho), kappa(run_.kappa),
        refractory(static_cast<float>(run_.refractory));
    const std::int64_t row = i * tiles_.rows + b, kept = t * tiles_.slot + tiles_.at(i, b), out = (b * run_.steps + t) * tiles_.columns;
    std::uint64_t fired = 0, could = 0;
    for (std::int64_t k = 0; k < tiles_.vectors(); ++k) {
      const std::int64_t place = tiles_.at(i, b) + 16 * k, column = i * tiles_.width + 16 * k;
      F16 v = load(state(0) + place), a = load(state(1) + place);
      const F16 z = load(state(2) + place), theta = load(run_.theta + column), beta = load(run_.beta + column);
      const F16 kept_part = run_.to_zero ? v * (one - z) : v - z * fma(beta, a, theta);
      v = fma(load(run_.alpha + column), kept_part, load(current_.get() + place) + load(run_.drive + out + column));
      a = fma(rho, a, rest * z);
      const F16 u = v - fma(beta, a, theta), since = load(state(4) + place) + one;
      const Lanes ready = greater(since, refractory);
      const Lanes fires = static_cast<Lanes>(ready & greater(u, zero));
      const F16 spike = select(fires, one, zero);
      store(state(0) + place, v);
      store(state(1) + place, a);
      store(state(2) + place, spike);
      store(state(3) + place, fma(kappa, load(state(3) + place), spike));
      store(state(4) + place, select(fires, zero, min(since, F16(1e6f))));
      store(out_ + out + column, spike);
      fired |= std::uint64_t{fires} << 16 * k;
      could |= std::uint64_t{ready} << 16 * k;
      if (kept_ == nullptr) continue;
      store(kept_->distances + kept + 16 * k, u);
      store(kept_->adaptations + kept + 16 * k, a);
    }
    bits_.get()[row] = fired;
    if (kept_ == nullptr) return;
    kept_->spikes[t * tiles_.count * tiles_.rows + row] = fired;
    kept_->ready[t * tiles_.count * tiles_.rows + row] = could;
  }

  const SpikingRun& run_;
  const SpikingKept* kept_;
  float* const out_;
  const SpikingTiles tiles_;
  const Wiring wiring_;
  const Buffer<float> state_, current_;
  const Buffer<std::uint64_t> bits_;
};

inline void forward(const SpikingRun& run, float* spikes, float* last, const SpikingKept* kept) {
  const SpikingForward forward(run, spikes, kept);
  const SpikingTiles tiles(run);
  parallel(run.threads, tiles.groups(),
           [&](std::int64_t begin, std::int64_t end) { forward.rows(tiles.first_row(begin), tiles.first_row(end)); });
  forward.finish(last);
}

}  // namespace quintet::QUINTET_NAMESPACE
