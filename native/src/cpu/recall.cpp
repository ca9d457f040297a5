// The choice of the level for an associative memory.
#include "quintet/recall.hpp"

#include "quintet/cpu.hpp"
#include "recall_levels.hpp"

namespace quintet {

void recall_forward(const Recall& recall, float* memory, float* recalled) {
  switch (level()) {
#if defined(__x86_64__)
    case Level::kAvx512: return avx512::recall_forward(recall, memory, recalled);
    case Level::kAvx2: return avx2::recall_forward(recall, memory, recalled);
#endif
    default: return scalar::recall_forward(recall, memory, recalled);
  }
}

void recall_backward(const Recall& recall, const RecallGradients& gradients) {
  switch (level()) {
#if defined(__x86_64__)
    case Level::kAvx512: return avx512::recall_backward(recall, gradients);
    case Level::kAvx2: return avx2::recall_backward(recall, gradients);
#endif
    default: return scalar::recall_backward(recall, gradients);
  }
}

}  // namespace quintet
