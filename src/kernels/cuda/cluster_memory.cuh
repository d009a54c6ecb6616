// What the one-read kernels use of sm_90: barriers in shared memory that count bytes, bulk copies
// into it, stores into the shared memory of a cluster's other blocks, and products of four warps.
#pragma once

#include <cuda_fp16.h>

#include <cstdint>

#include "kernels/cuda/warp_products.cuh"

namespace slim::cuda {

// The same place in the shared memory of block `rank` of the cluster.
__device__ __forceinline__ uint32_t remote_address(const void* pointer, int rank) {
  uint32_t remote;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;"
               : "=r"(remote)
               : "r"(shared_address(pointer)), "r"(rank));
  return remote;
}

using Barrier = uint64_t;

__device__ __forceinline__ void init_barrier(Barrier* barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)),
               "r"(arrivals));
}

// Waits until the phase of this parity is complete. Of the block's scope, although other blocks
// write too: what they write is counted by the barrier itself, and the wider scope would empty the
// L1 cache at each wait (measured: twice the time of the whole kernel).
__device__ __forceinline__ void wait_barrier(Barrier* barrier, int parity) {
  asm volatile(
      "{ .reg .pred done;\n"
      "again: mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra again; }" ::"r"(shared_address(barrier)),
      "r"(parity)
      : "memory");
}

__device__ __forceinline__ void arrive(Barrier* barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier))
               : "memory");
}

__device__ __forceinline__ void arrive_at(Barrier* barrier, int rank) {
  asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];" ::"r"(remote_address(barrier, rank))
               : "memory");
}

// One arrival, and `bytes` that have to be written before the phase is complete.
__device__ __forceinline__ void expect_bytes(Barrier* barrier, int bytes) {
  asm volatile(
      "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
      "r"(bytes)
      : "memory");
}

// Global to shared memory; addresses and bytes are multiples of 16.
__device__ __forceinline__ void copy_bulk(void* to, const std::byte* from, int bytes,
                                          Barrier* barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(shared_address(to)),
      "l"(from), "r"(bytes), "r"(shared_address(barrier))
      : "memory");
}

__device__ __forceinline__ void put(const void* to, Barrier* barrier, int rank, uint4 value) {
  asm volatile(
      "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.b32 [%0], {%1, %2, %3, %4}, "
      "[%5];" ::"r"(remote_address(to, rank)),
      "r"(value.x), "r"(value.y), "r"(value.z), "r"(value.w), "r"(remote_address(barrier, rank))
      : "memory");
}

__device__ __forceinline__ void put(const void* to, Barrier* barrier, int rank, float2 value) {
  asm volatile(
      "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v2.b32 [%0], {%1, %2}, [%3];" ::
          "r"(remote_address(to, rank)),
      "r"(__float_as_uint(value.x)), "r"(__float_as_uint(value.y)),
      "r"(remote_address(barrier, rank))
      : "memory");
}

__device__ __forceinline__ void sync_cluster() {
  asm volatile(
      "barrier.cluster.arrive.release;\n"
      "barrier.cluster.wait.acquire;" ::
          : "memory");
}

// load_fragments() of the transposed matrices.
__device__ __forceinline__ Fragments load_transposed(uint32_t address) {
  Fragments f;
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(f.part[0]), "=r"(f.part[1]), "=r"(f.part[2]), "=r"(f.part[3])
               : "r"(address));
  return f;
}

// ---- Products of four warps, which run beside what the warps do ------------------------------

// A matrix in shared memory as an operand: of eight rows each the 16 bytes of one step are 128
// bytes without gaps; kStep bytes lie between neighbouring 16 bytes of a row, kEight between
// neighbouring eights of rows. All multiples of 16.
template <int kStep, int kEight>
struct Operand {
  static constexpr uint32_t kHigh = kEight / 16;
  uint32_t low;

  __device__ __forceinline__ explicit Operand(uint32_t address)
      : low(address >> 4 & 0x3FFF | (kStep / 16) << 16) {}
  // `bytes` further on: a multiple of 16.
  __device__ __forceinline__ Operand advance(int bytes) const {
    Operand other = *this;
    other.low += static_cast<uint32_t>(bytes / 16);
    return other;
  }
};

// Before products read registers or sums that were written since the last ones.
__device__ __forceinline__ void order_registers() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void commit_products() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
// Until at most kGroups of those committed are left.
template <int kGroups>
__device__ __forceinline__ void wait_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kGroups) : "memory");
}
// What this thread sees in shared memory is there for products too.
__device__ __forceinline__ void order_shared_writes() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// c[64, 8 n] (= or +=) a[64, 16] b[16, 8 n] in f16, summed in f32; a warp holds 16 rows of a and c.
template <bool kFirst, class B>
__device__ __forceinline__ void multiply_group(float (&c)[1][4], const uint32_t (&a)[4], B b) {
  asm volatile(
      "{ .reg .pred add; .reg .b64 b; setp.ne.b32 add, %9, 0; mov.b64 b, {%8, %10};\n"
      "wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%0, %1, %2, %3}, {%4, %5, %6, %7}, b, "
      "add, 1, 1, 0; }"
      : "+f"(c[0][0]), "+f"(c[0][1]), "+f"(c[0][2]), "+f"(c[0][3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b.low), "n"(kFirst ? 0 : 1), "n"(B::kHigh));
}
template <bool kFirst, class B>
__device__ __forceinline__ void multiply_group(float (&c)[2][4], const uint32_t (&a)[4], B b) {
  asm volatile(
      "{ .reg .pred add; .reg .b64 b; setp.ne.b32 add, %13, 0; mov.b64 b, {%12, %14};\n"
      "wgmma.mma_async.sync.aligned.m64n16k16.f32.f16.f16 {%0, %1, %2, %3, %4, %5, %6, %7}, "
      "{%8, %9, %10, %11}, b, add, 1, 1, 0; }"
      : "+f"(c[0][0]), "+f"(c[0][1]), "+f"(c[0][2]), "+f"(c[0][3]), "+f"(c[1][0]), "+f"(c[1][1]),
        "+f"(c[1][2]), "+f"(c[1][3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b.low), "n"(kFirst ? 0 : 1), "n"(B::kHigh));
}
template <bool kFirst, class B>
__device__ __forceinline__ void multiply_group(float (&c)[3][4], const uint32_t (&a)[4], B b) {
  asm volatile(
      "{ .reg .pred add; .reg .b64 b; setp.ne.b32 add, %17, 0; mov.b64 b, {%16, %18};\n"
      "wgmma.mma_async.sync.aligned.m64n24k16.f32.f16.f16 {%0, %1, %2, %3, %4, %5, %6, %7, %8, "
      "%9, %10, %11}, {%12, %13, %14, %15}, b, add, 1, 1, 0; }"
      : "+f"(c[0][0]), "+f"(c[0][1]), "+f"(c[0][2]), "+f"(c[0][3]), "+f"(c[1][0]), "+f"(c[1][1]),
        "+f"(c[1][2]), "+f"(c[1][3]), "+f"(c[2][0]), "+f"(c[2][1]), "+f"(c[2][2]), "+f"(c[2][3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b.low), "n"(kFirst ? 0 : 1), "n"(B::kHigh));
}
template <bool kFirst, class B>
__device__ __forceinline__ void multiply_group(float (&c)[4][4], const uint32_t (&a)[4], B b) {
  asm volatile(
      "{ .reg .pred add; .reg .b64 b; setp.ne.b32 add, %21, 0; mov.b64 b, {%20, %22};\n"
      "wgmma.mma_async.sync.aligned.m64n32k16.f32.f16.f16 {%0, %1, %2, %3, %4, %5, %6, %7, %8, "
      "%9, %10, %11, %12, %13, %14, %15}, {%16, %17, %18, %19}, b, add, 1, 1, 0; }"
      : "+f"(c[0][0]), "+f"(c[0][1]), "+f"(c[0][2]), "+f"(c[0][3]), "+f"(c[1][0]), "+f"(c[1][1]),
        "+f"(c[1][2]), "+f"(c[1][3]), "+f"(c[2][0]), "+f"(c[2][1]), "+f"(c[2][2]), "+f"(c[2][3]),
        "+f"(c[3][0]), "+f"(c[3][1]), "+f"(c[3][2]), "+f"(c[3][3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b.low), "n"(kFirst ? 0 : 1), "n"(B::kHigh));
}

template <bool kFirst, class B>
__device__ __forceinline__ void multiply_group(float (&c)[5][4], const uint32_t (&a)[4], B b) {
  asm volatile(
      "{ .reg .pred add; .reg .b64 b; setp.ne.b32 add, %25, 0; mov.b64 b, {%24, %26};\n"
      "wgmma.mma_async.sync.aligned.m64n40k16.f32.f16.f16 {%0, %1, %2, %3, %4, %5, %6, %7, %8, "
      "%9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19}, {%20, %21, %22, %23}, b, add, 1, 1, "
      "0; }"
      : "+f"(c[0][0]), "+f"(c[0][1]), "+f"(c[0][2]), "+f"(c[0][3]), "+f"(c[1][0]), "+f"(c[1][1]),
        "+f"(c[1][2]), "+f"(c[1][3]), "+f"(c[2][0]), "+f"(c[2][1]), "+f"(c[2][2]), "+f"(c[2][3]),
        "+f"(c[3][0]), "+f"(c[3][1]), "+f"(c[3][2]), "+f"(c[3][3]), "+f"(c[4][0]), "+f"(c[4][1]),
        "+f"(c[4][2]), "+f"(c[4][3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b.low), "n"(kFirst ? 0 : 1), "n"(B::kHigh));
}

// A number that the compiler does not know for a constant: it keeps it in a register.
__device__ __forceinline__ uint32_t opaque(uint32_t number) {
  uint32_t one;  // a grid of one row
  asm volatile("mov.u32 %0, %%nctaid.y;" : "=r"(one));
  return number - 1 + one;
}

template <int kRegisters>
__device__ __forceinline__ void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ __forceinline__ void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

}  // namespace slim::cuda
