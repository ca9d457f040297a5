// A brain's window at the level avx512.
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

#if defined(__x86_64__)
#include "intrinsics.hpp"

#pragma GCC target("avx512f,avx512bw,avx512vl,avx2,fma")
#define QUINTET_LEVEL 512
#define QUINTET_NAMESPACE avx512
#include "brain_backward.hpp"
#include "brain_forward.hpp"

namespace quintet::avx512 {

void brain_forward(const BrainWindow& window, const BrainKept& kept) { run_brain_forward(window, kept); }

void brain_backward(const BrainWindow& window, const BrainKept& kept, const BrainGradients& gradients) {
  run_brain_backward(window, kept, gradients);
}

}  // namespace quintet::avx512
#endif
