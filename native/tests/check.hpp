// The little that the tests need: expectations that are counted, and numbers that are the same everywhere.
#pragma once

#include <cstdint>
#include <cstdio>
#include <vector>

namespace check {

inline int failures = 0;

inline void expect(bool fine, const char* what, std::int64_t rows = 0, std::int64_t columns = 0) {
  if (fine) return;
  std::fprintf(stderr, "FAILED: %s (%lld x %lld)\n", what, static_cast<long long>(rows), static_cast<long long>(columns));
  ++failures;
}

// Exit code of a test program.
inline int report() {
  std::printf("%d failed\n", failures);
  return failures != 0;
}

// A linear congruential generator (Knuth's constants): whole numbers below `bound`.
inline int random(int bound) {
  static std::uint64_t state = 1;
  state = state * 6364136223846793005u + 1442695040888963407u;
  return static_cast<int>((state >> 33) % static_cast<std::uint64_t>(bound));
}

inline std::vector<std::int8_t> random_digits(std::int64_t count, int levels = 5) {
  std::vector<std::int8_t> digits(static_cast<std::size_t>(count));
  for (auto& w : digits) w = static_cast<std::int8_t>(random(levels) - levels / 2);
  return digits;
}

}  // namespace check
