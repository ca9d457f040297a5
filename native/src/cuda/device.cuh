// All that kernels use of a GPU. nvcc compiles them for one; g++ compiles the same files against native/tests/emulator, which runs every CUDA
// thread as a fiber, so that results, barriers and bounds are tested on machines without a GPU.
//
// Floating point is what the source says: nvcc gets --fmad=false, so a * b + c rounds twice, on either side, and fmaf(a, b, c) once.
#pragma once

#include <cstddef>
#include <cstdint>

#include "quintet/cuda/status.hpp"

#if defined(__CUDACC__)
#include <cooperative_groups.h>
#include <cuda_runtime.h>

#include <tuple>

namespace quintet::cuda {

inline Status status_of(cudaError_t error) {
  return error == cudaSuccess ? Status() : Status(std::string(cudaGetErrorName(error)) + ": " + cudaGetErrorString(error));
}

namespace detail {

inline Status allow(const void* kernel, std::size_t shared) {
  if (shared <= 48 << 10) return {};
  return status_of(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared)));
}

inline Status attribute(cudaDeviceAttr which, int& value) {
  int device = 0;
  const Status status = status_of(cudaGetDevice(&device));
  return status.ok() ? status_of(cudaDeviceGetAttribute(&value, which, device)) : status;
}

template <class... P, class... A>
[[nodiscard]] Status launch(bool cooperative, void (*kernel)(P...), dim3 grid, dim3 block, std::size_t shared, void* stream, A... arguments) {
  const auto* function = reinterpret_cast<const void*>(kernel);
  const Status status = allow(function, shared);
  if (!status.ok() || grid.x == 0 || grid.y == 0 || grid.z == 0) return status;
  std::tuple<P...> values(arguments...);
  return std::apply(
      [&](P&... each) {
        void* pointers[] = {static_cast<void*>(&each)..., nullptr};
        auto* on = static_cast<cudaStream_t>(stream);
        return status_of(cooperative ? cudaLaunchCooperativeKernel(function, grid, block, pointers, shared, on)
                                     : cudaLaunchKernel(function, grid, block, pointers, shared, on));
      },
      values);
}

}  // namespace detail

// Starts kernel(arguments...) on `stream` (a cudaStream_t), with `shared` bytes of dynamic shared memory a block. An empty grid does nothing.
template <class... P, class... A>
[[nodiscard]] Status launch(void (*kernel)(P...), dim3 grid, dim3 block, std::size_t shared, void* stream, A... arguments) {
  return detail::launch(false, kernel, grid, block, shared, stream, arguments...);
}

// The same with all blocks on the device at once, so that they may meet in grid_sync().
template <class... P, class... A>
[[nodiscard]] Status launch_cooperative(void (*kernel)(P...), dim3 grid, dim3 block, std::size_t shared, void* stream, A... arguments) {
  return detail::launch(true, kernel, grid, block, shared, stream, arguments...);
}

// Blocks that a cooperative launch may have: 0 where one does not fit.
template <class... P>
[[nodiscard]] Status most_blocks(void (*kernel)(P...), int threads, std::size_t shared, int& blocks) {
  const auto* function = reinterpret_cast<const void*>(kernel);
  int each = 0, processors = 0;
  Status status = detail::allow(function, shared);
  if (status.ok()) status = detail::attribute(cudaDevAttrMultiProcessorCount, processors);
  if (status.ok()) status = status_of(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&each, function, threads, shared));
  blocks = each * processors;
  return status;
}

// Of the current device: its multiprocessors, and the most bytes of shared memory that a block may have.
[[nodiscard]] inline Status multiprocessors(int& count) { return detail::attribute(cudaDevAttrMultiProcessorCount, count); }
[[nodiscard]] inline Status most_shared(int& bytes) { return detail::attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, bytes); }

// The block's dynamic shared memory, at a multiple of 16 bytes. It begins with any content.
template <class T>
__device__ T* shared() {
  extern __shared__ uint4 quintet_shared[];
  return reinterpret_cast<T*>(quintet_shared);
}

// All threads of all blocks of a cooperative launch meet, and see what was written to memory before.
__device__ inline void grid_sync() { cooperative_groups::this_grid().sync(); }

// c += the four signed bytes of b, each times the unsigned byte of a.
__device__ inline int dot4(unsigned a, int b, int c) {
  int d;
  asm("dp4a.u32.s32 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
  return d;
}

// Data that is read once: it should not push other data out of the caches.
template <class T>
__device__ T load_once(const T* from) {
  return __ldcs(from);
}

// Tensor cores: d += a b for a warp. The fragments of a lane are those of the PTX ISA's "mma" of that shape and type.
__device__ inline void mma_s8_16x8x32(int (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ inline void mma_bf16_16x8x16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ inline void mma_tf32_16x8x8(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// x to the nearest tf32, ties away from zero: the bits that mma_tf32_16x8x8 takes.
__device__ inline unsigned to_tf32(float x) {
  unsigned bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
  return bits;
}

// Four 8 x 8 matrices of 16-bit elements from shared memory. Lane i brings the address of row i % 8 of matrix i / 8 (16 bytes, aligned), and
// gets of matrix m, as to[m], the elements 2 (i % 4) and 2 (i % 4) + 1 of row i / 4.
__device__ inline void load_matrices(unsigned (&to)[4], const void* row) {
  const auto address = static_cast<unsigned>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(address)
               : "memory");
}

// Starts to copy 16 bytes to shared memory, of which all after the first `bytes` become 0. Both addresses are multiples of 16.
__device__ inline void copy_async(void* to, const void* from, int bytes = 16) {
  const auto address = static_cast<unsigned>(__cvta_generic_to_shared(to));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from), "r"(bytes) : "memory");
}

// The copies that this thread has started since the last commit become a group.
__device__ inline void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// This thread's groups are there, but for the last `Pending`. Others see them after a barrier.
template <int Pending>
__device__ void copy_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
}

}  // namespace quintet::cuda

#else
#include "emulator.hpp"
#endif

namespace quintet::cuda {

// The bits of a bfloat16 number (the upper half of a float32) and back; to the nearest, ties to even, and a NaN stays one.
__device__ inline float from_bf16(std::uint16_t bits) { return __uint_as_float(static_cast<unsigned>(bits) << 16); }

__device__ inline std::uint16_t to_bf16(float x) {
  const unsigned bits = __float_as_uint(x);
  const unsigned rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
  return static_cast<std::uint16_t>((bits & 0x7FFFFFFF) > 0x7F800000 ? bits >> 16 | 0x40 : rounded);
}

}  // namespace quintet::cuda
