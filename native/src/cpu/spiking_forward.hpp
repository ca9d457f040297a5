// The steps of a run of spiking neurons. Streams lie in rows; the spikes of one step are words of bits [N / block, B].
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "buffer.hpp"
#include "product.hpp"
#include "quintet/pool.hpp"
#include "quintet/spiking.hpp"

namespace quintet::QUINTET_NAMESPACE {

// Matrices [B, N] of a kernel's own lie in panels of 6 streams (the last may have fewer), a panel as [N / block, streams, block].
struct SpikingLayout {
  std::int64_t rows, columns, width, count;

  explicit SpikingLayout(const SpikingRun& run)
      : rows(run.batch), columns(run.neurons), width(run.block), count(run.neurons / run.block) {}
  std::int64_t vectors() const { return width / 16; }
  std::int64_t slot() const { return rows * columns; }
  std::int64_t words() const { return rows * count; }
  std::int64_t panels() const { return (rows + kPanelRows - 1) / kPanelRows; }
  std::int64_t first_row(std::int64_t panel) const { return std::min(rows, panel * kPanelRows); }
  std::int64_t at(std::int64_t row, std::int64_t tile) const {
    const std::int64_t first = row / kPanelRows * kPanelRows, height = std::min<std::int64_t>(kPanelRows, rows - first);
    return first * columns + (tile * height + row - first) * width;
  }

  // A plain [B, N] matrix into panels, and back.
  void spread(const float* plain, float* to) const {
    for (std::int64_t b = 0; b < rows; ++b) {
      for (std::int64_t i = 0; i < count; ++i) std::copy_n(plain + b * columns + i * width, width, to + at(b, i));
    }
  }
  void gather(const float* from, float* plain) const {
    for (std::int64_t b = 0; b < rows; ++b) {
      for (std::int64_t i = 0; i < count; ++i) std::copy_n(from + at(b, i), width, plain + b * columns + i * width);
    }
  }
};

// The words of the neurons of a plain [B, N] matrix that are above zero.
inline void bits_of(const SpikingLayout& layout, const float* plain, std::uint64_t* bits) {
  for (std::int64_t i = 0; i < layout.words(); ++i) {
    const float* z = plain + i % layout.rows * layout.columns + i / layout.rows * layout.width;
    bits[i] = 0;
    for (std::int64_t k = 0; k < layout.vectors(); ++k) bits[i] |= std::uint64_t{greater(load(z + 16 * k), F16(0.0f))} << 16 * k;
  }
}

// Matrices of more than this many numbers are written past the caches, which they would only sweep clean.
constexpr std::int64_t kFar = 1 << 18;
inline bool on_line(const float* p) { return reinterpret_cast<std::uintptr_t>(p) % 64 == 0; }
inline void put(bool far, float* p, F16 x) { far ? stream(p, x) : store(p, x); }

constexpr std::int64_t kAhead = 128;  // how many numbers of a stream are asked for ahead of their use

// Asks for `count` lines of memory ahead of their use.
inline void prefetch(const float* p, std::int64_t count) {
  for (std::int64_t line = 0; line < count; ++line) __builtin_prefetch(p + 16 * line);
}

// A block of W, the tiles of neurons where it begins and ends, and whether it is the first of the list that ends there.
struct Synapses {
  std::int64_t block, from, to;
  bool first;
};

// The blocks of W by the tile where they end, in their given order; or of W transposed.
inline std::vector<Synapses> wiring(const SpikingRun& run, bool transposed) {
  std::vector<Synapses> list;
  for (std::int64_t k = 0; k < run.blocks; ++k) {
    const std::int64_t* place = run.places + 2 * k;
    list.push_back({k, place[transposed ? 1 : 0], place[transposed ? 0 : 1], false});
  }
  std::stable_sort(list.begin(), list.end(), [](const Synapses& a, const Synapses& b) { return a.to < b.to; });
  for (std::size_t i = 0; i < list.size(); ++i) list[i].first = i == 0 || list[i].to != list[i - 1].to;
  return list;
}

class SpikingForward {
 public:
  SpikingForward(const SpikingRun& run, float* spikes, const SpikingKept* kept)
      : run_(run), kept_(kept), out_(spikes),
        far_(run.batch * run.steps * run.neurons > kFar && on_line(spikes) &&
             (kept == nullptr || (on_line(kept->distances) && on_line(kept->adaptations)))),
        layout_(run), wiring_(wiring(run, false)), state_(4 * layout_.slot()),
        current_(layout_.slot()), bits_(layout_.words()) {
    std::fill_n(current_.get(), layout_.slot(), 0.0f);
    const std::int64_t plain = layout_.rows * layout_.columns;
    for (const auto& [part, from] : kParts) layout_.spread(run.state + from * plain, state(part));
    bits_of(layout_, run.state + kSpikes * plain, bits_.get());
  }

  void panels(std::int64_t first, std::int64_t last) const {
    for (std::int64_t t = 0; t < run_.steps; ++t) {
      couple(layout_.first_row(first), layout_.first_row(last));
      for (std::int64_t panel = first; panel < last; ++panel) step(t, layout_.first_row(panel), layout_.first_row(panel + 1));
    }
    fence();
  }

  void finish(float* last) const {
    const std::int64_t plain = layout_.rows * layout_.columns;
    for (const auto& [part, to] : kParts) layout_.gather(state(part), last + to * plain);
    for (std::int64_t b = 0; b < layout_.rows; ++b)
      std::copy_n(out_ + ((b + 1) * run_.steps - 1) * layout_.columns, layout_.columns, last + kSpikes * plain + b * layout_.columns);
  }

 private:
  enum Part { kVoltage, kAdaptation, kTrace, kSince };
  static constexpr std::pair<Part, int> kParts[] = {{kVoltage, 0}, {kAdaptation, 1}, {kTrace, 3}, {kSince, 4}};
  static constexpr int kSpikes = 2;  // of the state that comes and goes

  float* state(Part part) const { return state_.get() + part * layout_.slot(); }

  // current = z W of the step before: the rows of W whose neuron fired are added up.
  void couple(std::int64_t first, std::int64_t last) const {
    switch (layout_.vectors()) {
      case 1: return add_rows<1>(first, last);
      case 2: return add_rows<2>(first, last);
      default: return add_rows<4>(first, last);
    }
  }
  template <int vectors>
  void add_rows(std::int64_t first, std::int64_t last) const {
    const std::int64_t size = layout_.width * layout_.width;
    for (const Synapses& synapses : wiring_) {
      const float* block = run_.weight + synapses.block * size;
      const float* next = run_.weight + (&synapses == &wiring_.back() ? wiring_.front() : *(&synapses + 1)).block * size;
      const std::uint64_t* fired = bits_.get() + synapses.from * layout_.rows;
      for (std::int64_t b = first; b < last; ++b) {
        if (b - first < 16 * vectors) prefetch(next + (b - first) * 16 * vectors, vectors);
        float* to = current_.get() + layout_.at(b, synapses.to);
        F16 sum[vectors];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) sum[v] = synapses.first ? F16(0.0f) : load(to + 16 * v);
        for (std::uint64_t bits = fired[b]; bits != 0; bits &= bits - 1) {
          const float* row = block + __builtin_ctzll(bits) * 16 * vectors;
#pragma GCC unroll 4
          for (int v = 0; v < vectors; ++v) sum[v] = sum[v] + load(row + 16 * v);
        }
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) store(to + 16 * v, sum[v]);
      }
    }
  }

  // What one step of a panel reads and writes, out of the reach of its stores.
  struct Step {
    SpikingRun run;
    float *voltage, *adaptation, *trace, *since, *spikes, *distances, *adaptations;
    const float* current;
    bool far;
  };
  struct Spiked {
    Lanes fires, ready;
  };

  // A panel's numbers lie one after the other, from `place`.
  void step(std::int64_t t, std::int64_t first, std::int64_t last) const {
    const std::int64_t kept = t * layout_.slot(), words = t * layout_.words();
    const Step step{run_, state(kVoltage), state(kAdaptation), state(kTrace), state(kSince), out_,
                    kept_ == nullptr ? nullptr : kept_->distances + kept, kept_ == nullptr ? nullptr : kept_->adaptations + kept,
                    current_.get(), far_};
    std::int64_t place = first * layout_.columns;
    for (std::int64_t i = 0; i < layout_.count; ++i) {
      for (std::int64_t b = first; b < last; ++b) {
        const std::int64_t word = i * layout_.rows + b, outside = (b * run_.steps + t) * layout_.columns;
        const std::uint64_t fired = bits_.get()[word];
        std::uint64_t fires = 0, ready = 0;
        for (std::int64_t k = 0; k < layout_.width; k += 16, place += 16) {
          const std::int64_t column = i * layout_.width + k;
          const Spiked spiked = neurons(step, place, column, outside + column, static_cast<Lanes>(fired >> k));
          fires |= std::uint64_t{spiked.fires} << k;
          ready |= std::uint64_t{spiked.ready} << k;
        }
        bits_.get()[word] = fires;
        if (kept_ == nullptr) continue;
        kept_->spikes[words + word] = fires;
        kept_->ready[words + word] = ready;
      }
    }
  }

  static Spiked neurons(const Step& at, std::int64_t place, std::int64_t column, std::int64_t outside, Lanes fired) {
    const F16 zero(0.0f), one(1.0f), rho(at.run.rho), rest(1.0f - at.run.rho);
    const F16 theta = load(at.run.theta + column), beta = load(at.run.beta + column);
    __builtin_prefetch(at.run.drive + outside + kAhead);
    F16 v = load(at.voltage + place), a = load(at.adaptation + place);
    const F16 reset = at.run.to_zero ? zero : v - fma(beta, a, theta);
    v = fma(load(at.run.alpha + column), select(fired, reset, v), load(at.current + place) + load(at.run.drive + outside));
    a = fma(rho, a, select(fired, rest, zero));
    const F16 u = v - fma(beta, a, theta), since = load(at.since + place) + one;
    const Lanes ready = greater(since, F16(static_cast<float>(at.run.refractory)));
    const Lanes fires = static_cast<Lanes>(ready & greater(u, zero));
    const F16 spike = select(fires, one, zero);
    store(at.voltage + place, v);
    store(at.adaptation + place, a);
    store(at.trace + place, fma(F16(at.run.kappa), load(at.trace + place), spike));
    store(at.since + place, select(fires, zero, min(since, F16(1e6f))));
    put(at.far, at.spikes + outside, spike);
    if (at.distances != nullptr) {
      put(at.far, at.distances + place, u);
      put(at.far, at.adaptations + place, a);
    }
    return {fires, ready};
  }

  const SpikingRun& run_;
  const SpikingKept* kept_;
  float* const out_;
  const bool far_;
  const SpikingLayout layout_;
  const std::vector<Synapses> wiring_;
  const Buffer<float> state_, current_;
  const Buffer<std::uint64_t> bits_;
};

inline void forward(const SpikingRun& run, float* spikes, float* last, const SpikingKept* kept) {
  const SpikingForward forward(run, spikes, kept);
  const SpikingLayout layout(run);
  parallel(run.threads, layout.panels(),
           [&](std::int64_t begin, std::int64_t end) { forward.panels(begin, end); });
  forward.finish(last);
}

}  // namespace quintet::QUINTET_NAMESPACE
