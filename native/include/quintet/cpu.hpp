// Which instructions the kernels use: chosen once from what the processor has, or set by hand so that every level can be tested on one machine.
#pragma once

#include <vector>

namespace quintet {

enum class Level {
  kScalar,  // portable C++
  kAvx2,    // AVX2 and FMA
  kAvx512,  // AVX-512 F, BW, VL with VNNI and VBMI
};

const char* name_of(Level level);

// The levels that this processor can run, the lowest first.
std::vector<Level> levels();

// The level in use: the highest, unless `use` chose another.
Level level();

// Only a level out of `levels()` may be chosen; returns false for others.
bool use(Level level);

}  // namespace quintet
