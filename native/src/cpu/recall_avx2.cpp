// An associative memory at the level avx2.
#include <cmath>
#include <cstdint>
#include <cstring>

#include "recall_levels.hpp"
#include "quintet/recall.hpp"

#if defined(__x86_64__)
#include <immintrin.h>

#pragma GCC target("avx2,fma")
#define QUINTET_LEVEL 2
#define QUINTET_NAMESPACE avx2
#include "recall_run.hpp"

namespace quintet::avx2 {

void recall_forward(const Recall& recall, float* memory, float* recalled) { run_recall_forward(recall, memory, recalled); }

void recall_backward(const Recall& recall, const RecallGradients& gradients) { run_recall_backward(recall, gradients); }

}  // namespace quintet::avx2
#endif
