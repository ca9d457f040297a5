// The choice of the level for a phase of spiking neurons, and its rows over threads.
#include "quintet/phase.hpp"

#include <algorithm>
#include <vector>

#include "phase_levels.hpp"
#include "quintet/cpu.hpp"
#include "quintet/pool.hpp"

namespace quintet {
namespace {

// What is a sum over rows is added up within groups of so many, and then over the groups, whatever the number of threads.
constexpr std::int64_t kGroup = 8;

void forward_at_level(const Phase& phase, float* rate, float* voltage, float* adaptation) {
  switch (level()) {
#if defined(__x86_64__)
    case Level::kAvx512: return avx512::phase_forward(phase, rate, voltage, adaptation);
    case Level::kAvx2: return avx2::phase_forward(phase, rate, voltage, adaptation);
#endif
    default: return scalar::phase_forward(phase, rate, voltage, adaptation);
  }
}

void backward_at_level(const Phase& phase, const PhaseGradients& gradients) {
  switch (level()) {
#if defined(__x86_64__)
    case Level::kAvx512: return avx512::phase_backward(phase, gradients);
    case Level::kAvx2: return avx2::phase_backward(phase, gradients);
#endif
    default: return scalar::phase_backward(phase, gradients);
  }
}

// Some rows of a phase.
Phase rows_of(Phase phase, std::int64_t first, std::int64_t count) {
  const std::int64_t skip = first * phase.neurons, own = phase.by_row ? skip : 0;
  for (const float** each : {&phase.current, &phase.modulation, &phase.voltage, &phase.adaptation}) *each += skip;
  for (const float** each : {&phase.decay, &phase.charge}) *each += own;
  phase.batch = count;
  return phase;
}

}  // namespace

void phase_forward(const Phase& phase, int threads, float* rate, float* voltage, float* adaptation) {
  parallel(threads, phase.batch, [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t skip = begin * phase.neurons;
    forward_at_level(rows_of(phase, begin, end - begin), rate + skip, voltage + skip, adaptation + skip);
  });
}

void phase_backward(const Phase& phase, int threads, const PhaseGradients& gradients) {
  if (phase.batch <= kGroup) return backward_at_level(phase, gradients);
  const std::int64_t groups = (phase.batch + kGroup - 1) / kGroup, neurons = phase.neurons;
  std::vector<float*> sums{gradients.gain, gradients.bias};
  if (!phase.by_row) sums.insert(sums.end(), {gradients.decay, gradients.charge});
  const auto kinds = static_cast<std::int64_t>(sums.size());
  std::vector<float> parts(static_cast<std::size_t>(groups * kinds * neurons));
  parallel(threads, groups, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t group = begin; group < end; ++group) {
      const std::int64_t first = group * kGroup, skip = first * neurons, own = phase.by_row ? skip : 0;
      float* part = parts.data() + group * kinds * neurons;
      PhaseGradients to = gradients;
      if (to.rate != nullptr) to.rate += skip;
      if (to.last != nullptr) to.last += skip;
      for (float** each : {&to.current, &to.modulation, &to.voltage}) *each += skip;
      to.gain = part;
      to.bias = part + neurons;
      to.decay = phase.by_row ? to.decay + own : part + 2 * neurons;
      to.charge = phase.by_row ? to.charge + own : part + 3 * neurons;
      backward_at_level(rows_of(phase, first, std::min(kGroup, phase.batch - first)), to);
    }
  });
  parallel(threads, neurons, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t kind = 0; kind < kinds; ++kind) {
      float* to = sums[static_cast<std::size_t>(kind)];
      std::fill(to + begin, to + end, 0.0f);
      for (std::int64_t group = 0; group < groups; ++group) {
        const float* part = parts.data() + (group * kinds + kind) * neurons;
        for (std::int64_t i = begin; i < end; ++i) to[i] += part[i];
      }
    }
  });
}

}  // namespace quintet
