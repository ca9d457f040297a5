// Sizes of what a run keeps, and the choice of the level.
#include "quintet/recurrent.hpp"

#include <algorithm>

#include "quintet/cpu.hpp"
#include "recurrent_levels.hpp"

namespace quintet {

RecurrentShape shape_of(const RecurrentRun& run) {
  RecurrentShape shape{};
  shape.width = run.neurons < 64 ? (run.neurons + 15) / 16 * 16 : 64;
  shape.tiles = (run.neurons + shape.width - 1) / shape.width;
  shape.slots = run.segment == 0 ? run.steps : (run.steps - 1) / run.segment;
  shape.slot = shape.tiles * run.batch * shape.width;
  shape.masks = run.segment == 0 && run.dropout > 0.0 ? run.steps * shape.tiles * run.batch : 0;
  return shape;
}

void recurrent_forward(const RecurrentRun& run, float* final, float* states, const RecurrentKept* kept) {
  switch (level()) {
#if defined(__x86_64__)
    case Level::kAvx512: return avx512::recurrent_forward(run, final, states, kept);
    case Level::kAvx2: return avx2::recurrent_forward(run, final, states, kept);
#endif
    default: return scalar::recurrent_forward(run, final, states, kept);
  }
}

void recurrent_backward(const RecurrentRun& run, const RecurrentKept& kept, const RecurrentGradients& gradients) {
  switch (level()) {
#if defined(__x86_64__)
    case Level::kAvx512: return avx512::recurrent_backward(run, kept, gradients);
    case Level::kAvx2: return avx2::recurrent_backward(run, kept, gradients);
#endif
    default: return scalar::recurrent_backward(run, kept, gradients);
  }
}

}  // namespace quintet
