// An associative memory at each level of instructions.
#pragma once

#include "quintet/recall.hpp"

#define QUINTET_RECALL_LEVEL(level)                                                           \
  namespace quintet::level {                                                                 \
  void recall_forward(const Recall& recall, float* memory, float* recalled);    \
  void recall_backward(const Recall& recall, const RecallGradients& gradients);                  \
  }

QUINTET_RECALL_LEVEL(scalar)
QUINTET_RECALL_LEVEL(avx2)
QUINTET_RECALL_LEVEL(avx512)

#undef QUINTET_RECALL_LEVEL
