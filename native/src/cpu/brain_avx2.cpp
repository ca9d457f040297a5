// A brain's window at the level avx2.
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
#include <immintrin.h>

#pragma GCC target("avx2,fma")
#define QUINTET_LEVEL 2
#define QUINTET_NAMESPACE avx2
#include "brain_backward.hpp"
#include "brain_forward.hpp"

namespace quintet::avx2 {

void brain_forward(const BrainWindow& window, const BrainKept& kept) { run_brain_forward(window, kept); }

void brain_backward(const BrainWindow& window, const BrainKept& kept, const BrainGradients& gradients) {
  run_brain_backward(window, kept, gradients);
}

}  // namespace quintet::avx2
#endif
