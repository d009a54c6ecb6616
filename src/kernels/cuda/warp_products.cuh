// Products of one warp on tensor cores (sm_80 and later): matrices of 16-bit numbers come from
// shared memory into fragments, and c[16, 8] += a[16, 16] b[16, 8] is summed in f32. And what
// brings them there, and takes numbers apart into 16-bit ones, two in a word, the first below.
//
// Of a, lane l holds rows l / 4 (parts 0 and 2) and l / 4 + 8 (1 and 3), columns l % 4 * 2 + {0, 1}
// (0 and 1) and 8 more (2 and 3); of b the same two pairs of rows, of column l / 4; of c rows l / 4
// (0 and 1) and l / 4 + 8, columns l % 4 * 2 + {0, 1}.
//
// tests/emulator/card_fragments.h is this file for the emulator.
#pragma once

#include <cstdint>

namespace slim::cuda {

__device__ __forceinline__ uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// Asks for `bytes` of global memory, 0 to 16, filled up with zeros to 16, in shared memory. Both
// addresses are multiples of 16.
__device__ __forceinline__ void copy_chunk(void* to, const void* from, int bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
               "r"(bytes)
               : "memory");
}

// Four 8 by 8 matrices of 16-bit numbers; lane l says where row l % 8 of matrix l / 8 begins, and
// gets of each matrix row l / 4, columns l % 4 * 2 + {0, 1}.
struct Fragments {
  uint32_t part[4];
};
__device__ __forceinline__ Fragments load_fragments(const void* row) {
  Fragments f;
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(f.part[0]), "=r"(f.part[1]), "=r"(f.part[2]), "=r"(f.part[3])
               : "r"(shared_address(row))
               : "memory");
  return f;
}

// Of each matrix transposed: a lane gets column l / 4, rows l % 4 * 2 + {0, 1}.
__device__ __forceinline__ Fragments load_transposed(const void* row) {
  Fragments f;
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(f.part[0]), "=r"(f.part[1]), "=r"(f.part[2]), "=r"(f.part[3])
               : "r"(shared_address(row))
               : "memory");
  return f;
}

// c += a b of f16 or bf16 numbers.
template <bool kBf16>
__device__ __forceinline__ void multiply(float (&c)[4], const uint32_t (&a)[4], uint32_t b0,
                                         uint32_t b1) {
  if constexpr (kBf16) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
}

__device__ __forceinline__ uint32_t add_halves(uint32_t a, uint32_t b) {
  uint32_t sum;
  asm("add.rn.f16x2 %0, %1, %2;" : "=r"(sum) : "r"(a), "r"(b));
  return sum;
}
__device__ __forceinline__ uint32_t subtract_halves(uint32_t a, uint32_t b) {
  uint32_t difference;
  asm("sub.rn.f16x2 %0, %1, %2;" : "=r"(difference) : "r"(a), "r"(b));
  return difference;
}

// Two numbers rounded to nearest f16 or bf16.
__device__ __forceinline__ uint32_t pack_halves(float first, float second) {
  uint32_t word;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(second), "f"(first));
  return word;
}
__device__ __forceinline__ uint32_t pack_bfloats(float first, float second) {
  uint32_t word;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(second), "f"(first));
  return word;
}

}  // namespace slim::cuda
