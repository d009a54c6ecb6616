// Products of a warpgroup (wgmma, sm_90a): D[64, N] += A[64, 16] B[16, N] of 16-bit numbers summed
// in f32, both operands in shared memory. A *slab* is what all operands consist of: rows of 128
// bytes, 64 numbers, each 16-byte chunk c of row r at place c ^ (r % 8): the 128-byte swizzle of
// bulk tensor copies; slabs start at multiples of 1024 bytes. Rows may run along either side:
//   along M or N, numbers along K ("K-major"): sixteen of K are 32 bytes further along the rows;
//   along K, numbers along M ("M-major", A alone): sixteen of K are 16 rows further.
// In both, groups of eight rows are 1024 bytes apart.
//
// Lane l of warp w holds of D, for block j of eight columns: row 16 w + l / 4, columns
// 8 j + l % 4 * 2 + {0, 1}, in d[4 j], d[4 j + 1], and the same of row + 8 in d[4 j + 2] and [+ 3].
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

#include "kernels/cuda/cluster_memory.cuh"

namespace slim::cuda {

constexpr int kSlabNumbers = 64;    // of a row
constexpr int kSlabRowBytes = 128;  // 8 chunks of 16

// Where byte `byte` of row `row` lies in a slab.
__host__ __device__ constexpr int slab_byte(int row, int byte) {
  return row * kSlabRowBytes + ((byte / 16 ^ row % 8) * 16) + byte % 16;
}

// What tells wgmma where an operand lies, as its low and high word; only the low one depends on the
// address. Bits 0-13: address / 16; 16-29: bytes from a slab to the next / 16, where rows run along
// K and have more than 64 numbers (else it is not used); 32-45: bytes from eight rows to the next
// eight / 16; 62-63: 1, swizzle of 128 bytes.
template <int kSlabStride = 16>
__device__ __forceinline__ uint64_t operand(uint32_t address) {
  constexpr uint64_t kLayout =
      uint64_t{1} << 62 | uint64_t{1024 / 16} << 32 | uint64_t{kSlabStride / 16} << 16;
  return kLayout | (address & 0x3FFFFU) >> 4;
}
// `bytes` further, a multiple of 16.
__device__ __forceinline__ uint64_t operand_after(uint64_t operand, int bytes) {
  return operand + static_cast<uint64_t>(bytes / 16);
}

template <typename T>
struct ProductName;
template <>
struct ProductName<__half> {
  static constexpr const char kName[] = ".f32.f16.f16";
};
template <>
struct ProductName<__nv_bfloat16> {
  static constexpr const char kName[] = ".f32.bf16.bf16";
};

// d += a b, or d = a b where `add` is 0. kAcross: a is M-major.
template <typename T, bool kAcross>
__device__ __forceinline__ void multiply_slabs(float (&d)[4], uint64_t a, uint64_t b, int add) {
  asm volatile(
      "{ .reg .pred add; setp.ne.b32 add, %6, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n8k16%8 {%0, %1, %2, %3}, %4, %5, add, 1, 1, %7, 0; }"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "l"(a), "l"(b), "r"(add), "n"(kAcross ? 1 : 0), "C"(ProductName<T>::kName));
}

template <typename T, bool kAcross>
__device__ __forceinline__ void multiply_slabs(float (&d)[8], uint64_t a, uint64_t b, int add) {
  asm volatile(
      "{ .reg .pred add; setp.ne.b32 add, %10, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n16k16%12 {%0, %1, %2, %3, %4, %5, %6, %7}, %8, %9, add, "
      "1, 1, %11, 0; }"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]),
        "+f"(d[7])
      : "l"(a), "l"(b), "r"(add), "n"(kAcross ? 1 : 0), "C"(ProductName<T>::kName));
}

template <typename T, bool kAcross>
__device__ __forceinline__ void multiply_slabs(float (&d)[12], uint64_t a, uint64_t b, int add) {
  asm volatile(
      "{ .reg .pred add; setp.ne.b32 add, %14, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n24k16%16 {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, "
      "%11}, %12, %13, add, 1, 1, %15, 0; }"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]),
        "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11])
      : "l"(a), "l"(b), "r"(add), "n"(kAcross ? 1 : 0), "C"(ProductName<T>::kName));
}

template <typename T, bool kAcross>
__device__ __forceinline__ void multiply_slabs(float (&d)[16], uint64_t a, uint64_t b, int add) {
  asm volatile(
      "{ .reg .pred add; setp.ne.b32 add, %18, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n32k16%20 {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, "
      "%11, %12, %13, %14, %15}, %16, %17, add, 1, 1, %19, 0; }"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]),
        "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]),
        "+f"(d[14]), "+f"(d[15])
      : "l"(a), "l"(b), "r"(add), "n"(kAcross ? 1 : 0), "C"(ProductName<T>::kName));
}

template <typename T, bool kAcross>
__device__ __forceinline__ void multiply_slabs(float (&d)[20], uint64_t a, uint64_t b, int add) {
  asm volatile(
      "{ .reg .pred add; setp.ne.b32 add, %22, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n40k16%24 {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, "
      "%11, %12, %13, %14, %15, %16, %17, %18, %19}, %20, %21, add, 1, 1, %23, 0; }"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]),
        "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]),
        "+f"(d[14]), "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19])
      : "l"(a), "l"(b), "r"(add), "n"(kAcross ? 1 : 0), "C"(ProductName<T>::kName));
}

}  // namespace slim::cuda
