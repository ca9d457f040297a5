// The recurrent run at each level of instructions.
#pragma once

#include "quintet/recurrent.hpp"

#define QUINTET_RECURRENT_LEVEL(level)                                                                              \
  namespace quintet::level {                                                                                        \
  void recurrent_forward(const RecurrentRun& run, float* final, float* states, const RecurrentKept* kept);          \
  void recurrent_backward(const RecurrentRun& run, const RecurrentKept& kept, const RecurrentGradients& gradients); \
  }

QUINTET_RECURRENT_LEVEL(scalar)
QUINTET_RECURRENT_LEVEL(avx2)
QUINTET_RECURRENT_LEVEL(avx512)

#undef QUINTET_RECURRENT_LEVEL
