// A GPU without one: device.cuh's names for g++. Every CUDA thread is a fiber that runs until it must wait for others, so a kernel's results, its
// barriers and (with AddressSanitizer) its bounds are tested anywhere; nothing is learnt about speed.
//
// It is stricter than a GPU. Shared memory begins as 0xFF bytes (floats: NaN). Barriers at different lines of the source, different operations
// of one warp, a shuffle from a lane that is not in the mask, and waiting for ever throw `Failure` out of `launch`. An asynchronous copy
// happens no sooner than its wait. Threads take turns in the order of their index, or the other way with `backward`: a missing barrier shows
// in one of the two. Tensor cores sum floats in double and round once, where a GPU's order and rounding are its own.
#pragma once

#include <math.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <tuple>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)

struct dim3 {
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
  unsigned x, y, z;
};
inline dim3 threadIdx, blockIdx, blockDim, gridDim;

struct alignas(8) int2 { int x, y; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(8) float2 { float x, y; };
struct alignas(16) int4 { int x, y, z, w; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(16) float4 { float x, y, z, w; };
constexpr int2 make_int2(int x, int y) { return {x, y}; }
constexpr uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
constexpr float2 make_float2(float x, float y) { return {x, y}; }
constexpr int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
constexpr uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
constexpr float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

namespace quintet::cuda::emulator {

class Failure : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

inline bool backward = false;        // the order in which threads and blocks take turns
inline int multiprocessors = 4;      // of the emulated device
inline int blocks_at_once = 8;       // what a cooperative launch may have
inline int shared_limit = 227 << 10;  // bytes a block

using Slot = std::array<unsigned char, 32>;
enum class Operation { kSync, kShuffle, kBallot, kMatrixProduct, kLoadMatrices };

// Runs body() for every thread. Throws Failure.
void run(const std::function<void()>& body, dim3 grid, dim3 block, std::size_t shared_bytes, bool cooperative);

// What the running thread calls.
unsigned char* shared_memory();
void block_barrier(int line);
void grid_barrier();
int lane();
// All lanes of `mask` bring `size` bytes; the slots of all lanes, good until this lane's next exchange.
const Slot* exchange(Operation operation, unsigned mask, const void* value, std::size_t size);
// Throws Failure out of the launch; `what` may hold two %d.
[[noreturn]] void fail(const char* what, int a = 0, int b = 0);
void start_copy(void* to, const void* from, int bytes);
void commit_copies();
void wait_for_copies(std::size_t pending);

template <class T>
T from_slot(const Slot& slot, std::size_t index = 0) {
  T value;
  std::memcpy(&value, slot.data() + index * sizeof value, sizeof value);
  return value;
}

template <class T>
T shuffle(unsigned mask, T value, int source) {
  static_assert(sizeof(T) <= sizeof(Slot));
  const Slot* slots = exchange(Operation::kShuffle, mask, &value, sizeof value);
  if ((mask >> source & 1) == 0) fail("a shuffle reads from a lane that is not in its mask");
  return from_slot<T>(slots[source]);
}

template <class... P, class... A>
[[nodiscard]] Status launch(bool cooperative, void (*kernel)(P...), dim3 grid, dim3 block, std::size_t shared, A... arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return {};
  const std::tuple<P...> values(arguments...);
  run([&] { std::apply(kernel, values); }, grid, block, shared, cooperative);
  return {};
}

}  // namespace quintet::cuda::emulator

inline void __syncthreads(int line = __builtin_LINE()) { quintet::cuda::emulator::block_barrier(line); }
inline void __syncwarp(unsigned mask = ~0U) {
  quintet::cuda::emulator::exchange(quintet::cuda::emulator::Operation::kSync, mask, nullptr, 0);
}
inline void __threadfence() {}

template <class T>
T __shfl_sync(unsigned mask, T value, int source) {
  return quintet::cuda::emulator::shuffle(mask, value, source & 31);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits) {
  return quintet::cuda::emulator::shuffle(mask, value, quintet::cuda::emulator::lane() ^ bits);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, int distance) {
  const int lane = quintet::cuda::emulator::lane();
  return quintet::cuda::emulator::shuffle(mask, value, lane + distance < 32 ? lane + distance : lane);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, int distance) {
  const int lane = quintet::cuda::emulator::lane();
  return quintet::cuda::emulator::shuffle(mask, value, lane >= distance ? lane - distance : lane);
}
unsigned __ballot_sync(unsigned mask, int predicate);
inline bool __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline bool __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, !predicate) == 0; }

using std::max;
using std::min;

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
int __dp4a(int a, int b, int c);
unsigned __dp4a(unsigned a, unsigned b, unsigned c);
unsigned __byte_perm(unsigned a, unsigned b, unsigned selector);
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned bits) {
  return static_cast<unsigned>((std::uint64_t{high} << 32 | low) >> (bits & 31));
}

inline float __uint_as_float(unsigned x) { float y; std::memcpy(&y, &x, sizeof y); return y; }
inline float __int_as_float(int x) { float y; std::memcpy(&y, &x, sizeof y); return y; }
inline unsigned __float_as_uint(float x) { unsigned y; std::memcpy(&y, &x, sizeof y); return y; }
inline int __float_as_int(float x) { int y; std::memcpy(&y, &x, sizeof y); return y; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float a) { return std::sqrt(a); }
inline float __frcp_rn(float a) { return 1.0F / a; }
inline float __int2float_rn(int a) { return static_cast<float>(a); }
inline int __float2int_rn(float a) { return static_cast<int>(std::rint(a)); }
inline float rsqrtf(float a) { return 1.0F / std::sqrt(a); }
inline float __expf(float a) { return std::exp(a); }

template <class T>
T __ldg(const T* from) { return *from; }
template <class T>
T atomicAdd(T* to, T value) { const T before = *to; *to = static_cast<T>(before + value); return before; }
template <class T>
T atomicOr(T* to, T value) { const T before = *to; *to = before | value; return before; }
template <class T>
T atomicMax(T* to, T value) { const T before = *to; *to = before < value ? value : before; return before; }

namespace quintet::cuda {

template <class... P, class... A>
[[nodiscard]] Status launch(void (*kernel)(P...), dim3 grid, dim3 block, std::size_t shared, void*, A... arguments) {
  return emulator::launch(false, kernel, grid, block, shared, arguments...);
}
template <class... P, class... A>
[[nodiscard]] Status launch_cooperative(void (*kernel)(P...), dim3 grid, dim3 block, std::size_t shared, void*, A... arguments) {
  return emulator::launch(true, kernel, grid, block, shared, arguments...);
}
template <class... P>
[[nodiscard]] Status most_blocks(void (*)(P...), int, std::size_t shared, int& blocks) {
  blocks = shared > static_cast<std::size_t>(emulator::shared_limit) ? 0 : emulator::blocks_at_once;
  return {};
}
[[nodiscard]] inline Status multiprocessors(int& count) { count = emulator::multiprocessors; return {}; }
[[nodiscard]] inline Status most_shared(int& bytes) { bytes = emulator::shared_limit; return {}; }

template <class T>
T* shared() { return reinterpret_cast<T*>(emulator::shared_memory()); }
inline void grid_sync() { emulator::grid_barrier(); }
int dot4(unsigned a, int b, int c);
template <class T>
T load_once(const T* from) { return *from; }

void mma_s8_16x8x32(int (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]);
void mma_bf16_16x8x16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]);
void mma_tf32_16x8x8(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]);
inline unsigned to_tf32(float x) { return (__float_as_uint(x) + 0x1000) & ~0x1FFFU; }
void load_matrices(unsigned (&to)[4], const void* row);
inline void copy_async(void* to, const void* from, int bytes = 16) { emulator::start_copy(to, from, bytes); }
inline void copy_commit() { emulator::commit_copies(); }
template <int Pending>
void copy_wait() { emulator::wait_for_copies(Pending); }

}  // namespace quintet::cuda
