// What one thread of this machine can do, as a small library for the benchmarks: reading memory, and 8-bit products in registers.
// c++ -O3 -march=native -std=c++17 -shared -fPIC limits.cpp
#include <cstdint>
#include <ctime>

#include <immintrin.h>

static double thread_seconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// Reads `bytes` (a multiple of 512) and returns something that depends on all of them.
extern "C" std::uint64_t read_all(const std::uint8_t* data, std::int64_t bytes) {
  constexpr std::int64_t kAhead = 8192;
  std::uint64_t sum[64] = {};
  for (std::int64_t i = 0; i < bytes; i += 512) {
    for (int line = 0; line < 8; ++line) _mm_prefetch(reinterpret_cast<const char*>(data) + i + kAhead + 64 * line, _MM_HINT_T0);
    const auto* words = reinterpret_cast<const std::uint64_t*>(data + i);
    for (int w = 0; w < 64; ++w) sum[w] ^= words[w];
  }
  for (int w = 1; w < 64; ++w) sum[0] ^= sum[w];
  return sum[0];
}

// Operations (a multiplication and an addition are two) a second of 8-bit dot products: the best of ten rounds. 0 where there is no AVX-512 VNNI.
extern "C" double int8_peak() {
#if defined(__AVX512VNNI__)
  const __m512i u = _mm512_set1_epi8(3), x = _mm512_set1_epi8(5);
  double best = 0;
#define EACH(f) f(0) f(1) f(2) f(3) f(4) f(5) f(6) f(7) f(8) f(9) f(10) f(11) f(12) f(13) f(14) f(15)
#define DEFINE(i) __m512i a##i = _mm512_set1_epi32(i);
#define STEP(i) asm volatile("vpdpbusd %2, %1, %0" : "+v"(a##i) : "v"(u), "v"(x));
  EACH(DEFINE)
  for (int round = 0; round < 10; ++round) {
    constexpr long kSteps = 2'000'000;
    const double start = thread_seconds();
    for (long k = 0; k < kSteps; ++k) {
      EACH(STEP)
    }
    const double rate = 16.0 * 128 * kSteps / (thread_seconds() - start);
    best = rate > best ? rate : best;
  }
  return best;
#else
  return 0;
#endif
}
