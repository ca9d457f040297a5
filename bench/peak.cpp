// Prints the number of floating-point operations a second that one thread can do: 20 independent chains of vector multiply-adds in registers.
#include <cstdio>
#include <ctime>

#if defined(__AVX512F__)
constexpr int kBytes = 64;
#else
constexpr int kBytes = 32;
#endif
typedef float Vector __attribute__((vector_size(kBytes)));

static double thread_seconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

#define EACH(f) f(0) f(1) f(2) f(3) f(4) f(5) f(6) f(7) f(8) f(9) f(10) f(11)
#define DEFINE(i) Vector a##i = Vector{} + static_cast<float>(i);
#define STEP(i) a##i = a##i * x + y;
#define PIN(i) , "+v"(a##i)
#define ADD(i) +a##i

int main() {
  Vector x = Vector{} + 0.999f, y = Vector{} + 0.001f;
  EACH(DEFINE)
  double best = 0;
  for (int round = 0; round < 10; ++round) {
    constexpr long kSteps = 5'000'000;
    const double start = thread_seconds();
    for (long k = 0; k < kSteps; ++k) {
      EACH(STEP)
      asm volatile("" : "+v"(x) EACH(PIN));
    }
    const double rate = 12.0 * 2 * (kBytes / 4) * kSteps / (thread_seconds() - start);
    best = rate > best ? rate : best;
  }
  const Vector sum = y EACH(ADD);
  std::printf("%.4g\n", best);
  return sum[0] > 1e30f;
}
