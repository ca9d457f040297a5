// The recurrent run at the level scalar.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <optional>

#include "buffer.hpp"
#include "quintet/pool.hpp"
#include "quintet/recurrent.hpp"
#include "recurrent_levels.hpp"

#define QUINTET_LEVEL 0
#define QUINTET_NAMESPACE scalar
#include "recurrent_backward.hpp"

namespace quintet::scalar {

void recurrent_forward(const RecurrentRun& run, float* final, float* states, const RecurrentKept* kept) {
  forward(run, final, states, kept);
}

void recurrent_backward(const RecurrentRun& run, const RecurrentKept& kept, const RecurrentGradients& gradients) {
  Backward(run, kept, gradients)();
}

}  // namespace quintet::scalar
