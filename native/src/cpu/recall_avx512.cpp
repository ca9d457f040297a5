// An associative memory at the level avx512.
#include <cmath>
#include <cstdint>
#include <cstring>

#include "recall_levels.hpp"
#include "quintet/recall.hpp"

#if defined(__x86_64__)
#include "intrinsics.hpp"

#pragma GCC target("avx512f,avx512bw,avx512vl,avx2,fma")
#define QUINTET_LEVEL 512
#define QUINTET_NAMESPACE avx512
#include "recall_run.hpp"

namespace quintet::avx512 {

void recall_forward(const Recall& recall, float* memory, float* recalled) { run_recall_forward(recall, memory, recalled); }

void recall_backward(const Recall& recall, const RecallGradients& gradients) { run_recall_backward(recall, gradients); }

}  // namespace quintet::avx512
#endif
