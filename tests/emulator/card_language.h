// What CUDA's C++ has beyond C++: barriers, shuffles, exact
// arithmetic, conversions. The names are CUDA's.
#pragma once

#include <math.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "emulator/card_runtime.h"
#include "emulator/grid.h"
#include "tensor/dtype.h"

namespace slim::emulated {

using std::isfinite;
using std::isinf;
using std::isnan;
using std::max;
using std::min;

constexpr float CUDART_INF_F = std::numeric_limits<float>::infinity();
constexpr float CUDART_NAN_F = std::numeric_limits<float>::quiet_NaN();

inline void __syncthreads() { wait_for_block(false); }
inline int __syncthreads_or(int vote) { return wait_for_block(vote != 0) ? 1 : 0; }
inline void __syncwarp(unsigned mask = ~0U) { wait_for_warp(WarpOperation::barrier, mask); }

template <typename T>
T shuffled(WarpOperation operation, unsigned mask, T value, int from) {
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(value));
  bits = wait_for_warp(operation, mask, bits, from);
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}
template <typename T>
T __shfl_sync(unsigned mask, T value, int from) {
  return shuffled(WarpOperation::shuffle, mask, value, from);
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int distance) {
  return shuffled(WarpOperation::shuffle_xor, mask, value, lane_of_thread() ^ distance);
}

// A load from an address that a vector of this type may have, or else the end.
template <typename T>
T __ldg(const T* from) {
  if (reinterpret_cast<uintptr_t>(from) % alignof(T) != 0) __builtin_trap();
  return *from;
}
template <typename T>
T __ldcg(const T* from) {
  return __ldg(from);
}
// Kernels run one after another.
inline void wait_for_earlier() {}
inline void prefetch(const void*) {}
inline void __threadfence() { std::atomic_thread_fence(std::memory_order_seq_cst); }
// Blocks may run on several threads.
inline uint32_t atomicAdd(uint32_t* to, uint32_t value) {
  return std::atomic_ref(*to).fetch_add(value);
}
inline void __pipeline_memcpy_async(void* to, const void* from, size_t bytes) {
  const auto places = reinterpret_cast<uintptr_t>(to) | reinterpret_cast<uintptr_t>(from);
  if (places % bytes != 0) __builtin_trap();
  std::memcpy(to, from, bytes);
}
inline void __pipeline_commit() {}
inline void __pipeline_wait_prior(int) {}

inline float __uint_as_float(uint32_t bits) { return std::bit_cast<float>(bits); }
inline uint32_t __float_as_uint(float value) { return std::bit_cast<uint32_t>(value); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
// Bytes of (high, low), by the lower three bits of each digit of `which`.
inline uint32_t __byte_perm(uint32_t low, uint32_t high, uint32_t which) {
  const uint64_t bytes = (uint64_t{high} << 32) | low;
  uint32_t result = 0;
  for (int i = 0; i < 4; ++i) {
    const uint32_t place = (which >> (4 * i)) & 7U;
    result |= static_cast<uint32_t>((bytes >> (8 * place)) & 0xFFU) << (8 * i);
  }
  return result;
}

using __half = Half;
inline float __half2float(__half value) { return to_float(value); }
inline __half __float2half_rn(float value) { return to_half(value); }
inline __half __ushort_as_half(unsigned short bits) { return std::bit_cast<__half>(bits); }
inline unsigned short __half_as_ushort(__half value) {
  return std::bit_cast<unsigned short>(value);
}

using __nv_bfloat16 = BFloat16;
inline float __bfloat162float(__nv_bfloat16 value) { return to_float(value); }
inline __nv_bfloat16 __float2bfloat16_rn(float value) { return to_bfloat16(value); }
inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 value) {
  return std::bit_cast<unsigned short>(value);
}
inline int __hisinf(__nv_bfloat16 value) { return std::isinf(to_float(value)) ? 1 : 0; }

}  // namespace slim::emulated
