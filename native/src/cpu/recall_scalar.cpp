// An associative memory at the level scalar.
#include <cmath>
#include <cstdint>
#include <cstring>

#include "recall_levels.hpp"
#include "quintet/recall.hpp"

#define QUINTET_LEVEL 0
#define QUINTET_NAMESPACE scalar
#include "recall_run.hpp"

namespace quintet::scalar {

void recall_forward(const Recall& recall, float* memory, float* recalled) { run_recall_forward(recall, memory, recalled); }

void recall_backward(const Recall& recall, const RecallGradients& gradients) { run_recall_backward(recall, gradients); }

}  // namespace quintet::scalar
