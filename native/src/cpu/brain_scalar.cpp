// A brain's window at the level scalar.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>

#include "brain_levels.hpp"
#include "buffer.hpp"
#include "quintet/brain.hpp"
#include "quintet/phase.hpp"
#include "quintet/pool.hpp"
#include "quintet/recurrent.hpp"

#define QUINTET_LEVEL 0
#define QUINTET_NAMESPACE scalar
#include "brain_backward.hpp"
#include "brain_forward.hpp"

namespace quintet::scalar {

void brain_forward(const BrainWindow& window, const BrainKept& kept) { run_brain_forward(window, kept); }

void brain_backward(const BrainWindow& window, const BrainKept& kept, const BrainGradients& gradients) {
  run_brain_backward(window, kept, gradients);
}

}  // namespace quintet::scalar
