#include "quintet/cpu.hpp"

#include <algorithm>
#include <atomic>

namespace quintet {
namespace {

bool has(Level level) {
#if defined(__x86_64__)
  switch (level) {
    case Level::kScalar: return true;
    case Level::kAvx2: return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case Level::kAvx512:
      return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
             __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vbmi");
  }
#endif
  return level == Level::kScalar;
}

std::atomic<Level>& current() {
  static std::atomic<Level> chosen{levels().back()};
  return chosen;
}

}  // namespace

const char* name_of(Level level) {
  switch (level) {
    case Level::kScalar: return "scalar";
    case Level::kAvx2: return "avx2";
    case Level::kAvx512: return "avx512";
  }
  return "";
}

std::vector<Level> levels() {
  std::vector<Level> found;
  for (Level level : {Level::kScalar, Level::kAvx2, Level::kAvx512}) {
    if (has(level)) found.push_back(level);
  }
  return found;
}

Level level() { return current().load(std::memory_order_relaxed); }

bool use(Level level) {
  if (!has(level)) return false;
  current().store(level, std::memory_order_relaxed);
  return true;
}

}  // namespace quintet
