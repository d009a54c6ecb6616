// kernels/cuda/warp_products.cuh for the emulator: the lanes of a warp lay their fragments side by
// side, and each computes its part of the product from all of them.
#pragma once

#include "emulator/card_language.h"

namespace slim::emulated::cuda {

inline void copy_chunk(void* to, const void* from, int bytes) {
  if ((reinterpret_cast<uintptr_t>(to) | reinterpret_cast<uintptr_t>(from)) % 16 != 0) {
    __builtin_trap();
  }
  std::memset(to, 0, 16);
  std::memcpy(to, from, static_cast<size_t>(bytes));
}

// What each thread of a block last gave the others of its warp.
struct Given {
  const void* row;
  uint32_t a[4], b[2];
};
inline Given given[1024];

inline Given* given_by_warp() { return given + threadIdx.x / 32 * 32; }

struct Fragments {
  uint32_t part[4];
};
inline Fragments load_fragments(const void* row) {
  if (reinterpret_cast<uintptr_t>(row) % 16 != 0) __builtin_trap();
  Given* const lanes = given_by_warp();
  const int lane = lane_of_thread();
  lanes[lane].row = row;
  __syncwarp();
  Fragments f;
  for (int i = 0; i < 4; ++i) {
    std::memcpy(&f.part[i],
                static_cast<const std::byte*>(lanes[8 * i + lane / 4].row) + lane % 4 * 4,
                sizeof(uint32_t));
  }
  __syncwarp();
  return f;
}

inline Fragments load_transposed(const void* row) {
  if (reinterpret_cast<uintptr_t>(row) % 16 != 0) __builtin_trap();
  Given* const lanes = given_by_warp();
  const int lane = lane_of_thread();
  lanes[lane].row = row;
  __syncwarp();
  Fragments f;
  for (int i = 0; i < 4; ++i) {
    uint16_t numbers[2];
    for (int j = 0; j < 2; ++j) {
      const void* const from = lanes[8 * i + lane % 4 * 2 + j].row;
      std::memcpy(&numbers[j], static_cast<const std::byte*>(from) + lane / 4 * 2, 2);
    }
    f.part[i] = numbers[0] | static_cast<uint32_t>(numbers[1]) << 16;
  }
  __syncwarp();
  return f;
}

inline float half_of(uint32_t word, int which) {
  return __half2float(__ushort_as_half(static_cast<unsigned short>(word >> (16 * which))));
}

template <bool kBf16>
float number_of(uint32_t word, int which) {
  if (!kBf16) return half_of(word, which);
  return __uint_as_float(which == 0 ? word << 16 : word & 0xFFFF0000U);
}

template <bool kBf16>
void multiply(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  Given* const lanes = given_by_warp();
  const int lane = lane_of_thread();
  std::copy(a, a + 4, lanes[lane].a);
  lanes[lane].b[0] = b0;
  lanes[lane].b[1] = b1;
  __syncwarp();
  for (int i = 0; i < 4; ++i) {
    const Given* const row = lanes + lane / 4 * 4;
    const Given* const column = lanes + (lane % 4 * 2 + i % 2) * 4;
    for (int k = 0; k < 16; ++k) {
      const int owner = k % 8 / 2;
      c[i] += number_of<kBf16>(row[owner].a[i / 2 + k / 8 * 2], k % 2) *
              number_of<kBf16>(column[owner].b[k / 8], k % 2);
    }
  }
  __syncwarp();
}

inline uint32_t pack_halves(float first, float second) {
  return __half_as_ushort(__float2half_rn(first)) |
         static_cast<uint32_t>(__half_as_ushort(__float2half_rn(second))) << 16;
}
inline uint32_t pack_bfloats(float first, float second) {
  return __bfloat16_as_ushort(__float2bfloat16_rn(first)) |
         static_cast<uint32_t>(__bfloat16_as_ushort(__float2bfloat16_rn(second))) << 16;
}
inline uint32_t add_halves(uint32_t a, uint32_t b) {
  return pack_halves(half_of(a, 0) + half_of(b, 0), half_of(a, 1) + half_of(b, 1));
}
inline uint32_t subtract_halves(uint32_t a, uint32_t b) {
  return pack_halves(half_of(a, 0) - half_of(b, 0), half_of(a, 1) - half_of(b, 1));
}

}  // namespace slim::emulated::cuda
