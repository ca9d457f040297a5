// Philox4x32-10 (Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3. SC 2011), 16 counters at a time.
#pragma once

#include <cstdint>

#include "vector.hpp"

namespace quintet::QUINTET_NAMESPACE {

struct Random64 {
  U16 word[4];
};

// The four words of each counter (first + lane, row, step, 0) under the key `seed`.
inline Random64 philox(std::uint32_t first, std::uint32_t row, std::uint32_t step, std::uint64_t seed) {
  U16 c0 = counting(first), c1 = all(row), c2 = all(step), c3 = all(0);
  std::uint32_t key0 = static_cast<std::uint32_t>(seed), key1 = static_cast<std::uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    U16 low0, high0, low1, high1;
    multiply(c0, 0xD2511F53, low0, high0);
    multiply(c2, 0xCD9E8D57, low1, high1);
    c0 = high1 ^ c1 ^ all(key0);
    c2 = high0 ^ c3 ^ all(key1);
    c1 = low1;
    c3 = low0;
    key0 += 0x9E3779B9;
    key1 += 0xBB67AE85;
  }
  return {{c0, c1, c2, c3}};
}

// Dropout's decisions for columns 64 i .. 64 i + 63 of one row at one step, a bit each: kept where the word is at least `threshold`
// (the probability times 2^32). Column 64 i + 16 j + l takes word j of counter 16 i + l.
inline std::uint64_t kept_lanes(std::uint32_t i, std::uint32_t row, std::uint32_t step, std::uint64_t seed, std::uint32_t threshold) {
  const Random64 random = philox(16 * i, row, step, seed);
  std::uint64_t lanes = 0;
  for (int j = 0; j < 4; ++j) lanes |= std::uint64_t{at_least(random.word[j], threshold)} << 16 * j;
  return lanes;
}

}  // namespace quintet::QUINTET_NAMESPACE
