// The recurrent run at the level avx512.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <optional>

#include "buffer.hpp"
#include "quintet/pool.hpp"
#include "quintet/recurrent.hpp"
#include "recurrent_levels.hpp"

#if defined(__x86_64__)
#include "intrinsics.hpp"

#pragma GCC target("avx512f,avx512bw,avx512vl,avx2,fma")
#define QUINTET_LEVEL 512
#define QUINTET_NAMESPACE avx512
#include "recurrent_backward.hpp"

namespace quintet::avx512 {

void recurrent_forward(const RecurrentRun& run, float* final, float* states, const RecurrentKept* kept) {
  forward(run, final, states, kept);
}

void recurrent_backward(const RecurrentRun& run, const RecurrentKept& kept, const RecurrentGradients& gradients) {
  Backward(run, kept, gradients)();
}

}  // namespace quintet::avx512
#endif
