// The emulator itself: warps, barriers, tensor cores against plain products, copies, and that it sees what a GPU would let pass.
#include <vector>

#include "../check.hpp"
#include "device.cuh"

namespace {

using namespace quintet::cuda;
using emulator::Failure;

template <class F>
bool fails(const char* with, F&& work) {
  try {
    work();
  } catch (const Failure& failure) {
    return std::string(failure.what()).find(with) != std::string::npos;
  }
  return false;
}

// to[block] = sum of from over the block: shuffles within warps, shared memory between them.
void sum_kernel(const int* from, int* to) {
  int* sums = shared<int>();
  int sum = from[blockIdx.x * blockDim.x + threadIdx.x];
  for (int bits = 16; bits > 0; bits /= 2) sum += __shfl_xor_sync(~0U, sum, bits);
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x != 0) return;
  sum = 0;
  for (unsigned i = 0; i < blockDim.x / 32; ++i) sum += sums[i];
  to[blockIdx.x] = sum;
}

void check_sum() {
  std::vector<int> from(3 * 128), to(3);
  std::vector<int> expected(3);
  for (std::size_t i = 0; i < from.size(); ++i) expected[i / 128] += from[i] = check::random(1000);
  check::expect(launch(sum_kernel, 3, 128, 16, nullptr, from.data(), to.data()).ok() && to == expected, "sums over blocks");
  to.assign(3, 0);
  check::expect(launch_cooperative(sum_kernel, 3, 128, 16, nullptr, from.data(), to.data()).ok() && to == expected, "all blocks at once");
}

void ballot_kernel(unsigned* to) {
  const unsigned low = __ballot_sync(~0U, threadIdx.x % 3 == 0);
  if (threadIdx.x >= 8) return;
  to[threadIdx.x] = low + __ballot_sync(0xFF, threadIdx.x % 2) + __shfl_sync(0xFF, threadIdx.x, static_cast<int>(threadIdx.x + 1) % 8);
}

void check_ballot() {
  unsigned to[8], multiples = 0;
  for (unsigned i = 0; i < 32; i += 3) multiples |= 1U << i;
  check::expect(launch(ballot_kernel, 1, 32, 0, nullptr, to).ok(), "ballot");
  for (unsigned i = 0; i < 8; ++i) check::expect(to[i] == multiples + 0xAA + (i + 1) % 8, "ballots and shuffles of some lanes");
}

void rotate_kernel(int* to, bool barrier) {
  int* values = shared<int>();
  values[threadIdx.x] = static_cast<int>(threadIdx.x);
  if (barrier) __syncthreads();
  to[threadIdx.x] = values[(threadIdx.x + 1) % 64];
}

bool rotates(bool barrier) {
  std::vector<int> to(64);
  const Status status = launch(rotate_kernel, 1, 64, 256, nullptr, to.data(), barrier);
  bool fine = status.ok();
  for (int i = 0; i < 64; ++i) fine &= to[static_cast<std::size_t>(i)] == (i + 1) % 64;
  return fine;
}

void grid_kernel(int* values, int* to) {
  values[blockIdx.x] = static_cast<int>(blockIdx.x) + 1;
  grid_sync();
  if (threadIdx.x == 0) to[blockIdx.x] = values[(blockIdx.x + 1) % gridDim.x];
}

void check_grid() {
  int values[4], to[4];
  check::expect(launch_cooperative(grid_kernel, 4, 32, 0, nullptr, values, to).ok(), "cooperative launch");
  for (int i = 0; i < 4; ++i) check::expect(to[i] == (i + 1) % 4 + 1, "blocks meet");
  check::expect(fails("not cooperative", [&] { (void)launch(grid_kernel, 4, 32, 0, nullptr, values, to); }), "a grid barrier needs all blocks");
}

// D[16, 8] += A[16, K] B[K, 8] for elements of `kEach` a register, through the fragments of the PTX ISA, written out.
template <int Each, class T, class D, class F>
void product(const T* a, const T* b, D* d, F mma) {
  const int lane = static_cast<int>(threadIdx.x), group = lane / 4, place = lane % 4;
  constexpr int kDepth = 8 * Each;
  unsigned left[4], right[2];
  D sums[4] = {1, 1, 1, 1};
  for (int i = 0; i < 4; ++i) std::memcpy(&left[i], a + (group + 8 * (i % 2)) * kDepth + place * Each + i / 2 * 4 * Each, 4);
  for (int i = 0; i < 2; ++i) std::memcpy(&right[i], b + group * kDepth + place * Each + i * 4 * Each, 4);
  mma(sums, left, right);
  for (int i = 0; i < 4; ++i) d[(group + 8 * (i / 2)) * 8 + 2 * place + i % 2] = sums[i];
}

void s8_kernel(const std::int8_t* a, const std::int8_t* b, int* d) { product<4>(a, b, d, mma_s8_16x8x32); }
void bf16_kernel(const std::uint16_t* a, const std::uint16_t* b, float* d) { product<2>(a, b, d, mma_bf16_16x8x16); }
void tf32_kernel(const float* a, const float* b, float* d) { product<1>(a, b, d, mma_tf32_16x8x8); }

float value_of(std::int8_t x) { return x; }
float value_of(std::uint16_t x) { return from_bf16(x); }
float value_of(float x) { return x; }
void set(std::int8_t& to, int x) { to = static_cast<std::int8_t>(x); }
void set(std::uint16_t& to, int x) { to = to_bf16(static_cast<float>(x)); }
void set(float& to, int x) { to = static_cast<float>(x); }

template <class T, class D>
void check_product(void (*kernel)(const T*, const T*, D*), int depth, const char* name) {
  std::vector<T> a(static_cast<std::size_t>(16 * depth)), b(static_cast<std::size_t>(8 * depth));  // b by columns
  for (auto& each : a) set(each, check::random(255) - 127);
  for (auto& each : b) set(each, check::random(255) - 127);
  D d[128];
  check::expect(launch(kernel, 1, 32, 0, nullptr, a.data(), b.data(), d).ok(), name);
  for (int row = 0; row < 16; ++row) {
    for (int column = 0; column < 8; ++column) {
      float sum = 1;  // whole numbers below 2^24
      for (int k = 0; k < depth; ++k) {
        sum += value_of(a[static_cast<std::size_t>(row * depth + k)]) * value_of(b[static_cast<std::size_t>(column * depth + k)]);
      }
      check::expect(static_cast<float>(d[8 * row + column]) == sum, name, row, column);
    }
  }
}

void copy_kernel(const int* from, int* to, bool wait) {
  int* values = shared<int>();
  copy_async(values + 4 * threadIdx.x, from + 4 * threadIdx.x, threadIdx.x == 1 ? 8 : 16);
  copy_commit();
  if (wait) copy_wait<0>();
  for (unsigned i = 0; i < 4; ++i) to[4 * threadIdx.x + i] = values[4 * threadIdx.x + i];
}

void check_copies() {
  alignas(16) const int from[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  int to[8];
  check::expect(launch(copy_kernel, 1, 2, 32, nullptr, from, to, true).ok() && to[3] == 4 && to[5] == 6 && to[6] == 0, "copies");
  check::expect(launch(copy_kernel, 1, 2, 32, nullptr, from, to, false).ok() && to[0] == -1, "copies wait for their wait");
}

void matrices_kernel(const std::uint16_t* from, unsigned* to) {
  std::uint16_t* values = shared<std::uint16_t>();
  for (unsigned i = 0; i < 8; ++i) values[8 * threadIdx.x + i] = from[8 * threadIdx.x + i];
  __syncthreads();
  unsigned fragments[4];
  load_matrices(fragments, values + 8 * threadIdx.x);
  for (unsigned m = 0; m < 4; ++m) to[4 * threadIdx.x + m] = fragments[m];
}

void check_matrices() {
  std::vector<std::uint16_t> from(256);
  for (std::size_t i = 0; i < 256; ++i) from[i] = static_cast<std::uint16_t>(i);
  std::vector<unsigned> to(128);
  check::expect(launch(matrices_kernel, 1, 32, 512, nullptr, from.data(), to.data()).ok(), "matrices from shared memory");
  for (unsigned lane = 0; lane < 32; ++lane) {
    for (unsigned m = 0; m < 4; ++m) {
      const unsigned first = 64 * m + 8 * (lane / 4) + 2 * (lane % 4);
      check::expect(to[4 * lane + m] == (first | (first + 1) << 16), "fragments from shared memory", lane, m);
    }
  }
}

void divergent_kernel() {
  if (threadIdx.x < 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}
void half_kernel() {
  if (threadIdx.x < 16) (void)__shfl_sync(~0U, 1, 0);
  __syncthreads();
}
void foreign_kernel() { (void)__shfl_sync(0xFU, 1, static_cast<int>(threadIdx.x) + 1); }
void garbage_kernel(float* to) { to[0] = shared<float>()[0]; }

void check_mistakes() {
  check::expect(fails("meets another", [] { (void)launch(divergent_kernel, 1, 64, 0, nullptr); }), "barriers of two branches");
  check::expect(fails("waits for ever", [] { (void)launch(half_kernel, 1, 32, 0, nullptr); }), "half a warp at a shuffle");
  check::expect(fails("not in its mask", [] { (void)launch(foreign_kernel, 1, 4, 0, nullptr); }), "a lane outside the mask");
  check::expect(fails("1 to 1024 threads", [] { (void)launch(divergent_kernel, 1, 1025, 0, nullptr); }), "too many threads");
  check::expect(fails("shared memory", [] { (void)launch(divergent_kernel, 1, 1, 1 << 20, nullptr); }), "too much shared memory");
  float value = 0;
  check::expect(launch(garbage_kernel, 1, 1, 4, nullptr, &value).ok() && std::isnan(value), "shared memory begins as NaN");
}

}  // namespace

int main() {
  bool unsynchronized = true;
  for (bool backward : {false, true}) {
    emulator::backward = backward;
    check_sum();
    check_ballot();
    check::expect(rotates(true), "a barrier");
    unsynchronized &= rotates(false);
    check_grid();
    check_copies();
    check_matrices();
    check_product(s8_kernel, 32, "s8 product");
    check_product(bf16_kernel, 16, "bf16 product");
    check_product(tf32_kernel, 8, "tf32 product");
    check_mistakes();
  }
  check::expect(!unsynchronized, "a missing barrier shows in one of the orders");
  const int a = 0x01FF7F80, b = 0x0203FE05;
  check::expect(__dp4a(a, b, 7) == 7 + 1 * 2 - 1 * 3 + 127 * -2 + -128 * 5, "__dp4a");
  check::expect(dot4(0x01FF7F80U, b, 7) == 7 + 1 * 2 + 255 * 3 + 127 * -2 + 128 * 5, "dot4");
  check::expect(__byte_perm(0x33221100U, 0x77665544U, 0x7410U) == 0x77441100U, "__byte_perm");
  return check::report();
}
