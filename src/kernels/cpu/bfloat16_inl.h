// Products of pairs of bf16 (AVX512_BF16). Included once per target, inside foreach_target, after
// all that defines the target anew.

// Highway's way: a guard that admits the file once for each target.
#if defined(SLIM_KERNELS_CPU_BFLOAT16_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SLIM_KERNELS_CPU_BFLOAT16_INL_H
#undef SLIM_KERNELS_CPU_BFLOAT16_INL_H
#else
#define SLIM_KERNELS_CPU_BFLOAT16_INL_H
#endif

#include "kernels/cpu/vector_math_inl.h"
#include "tensor/dtype.h"

#if HWY_TARGET == HWY_AVX3_DL
// Highway 1.0 knows no target with AVX512_BF16; bfloat16_ops() asks the processor for it.
#undef HWY_TARGET_STR
#define HWY_TARGET_STR \
  HWY_TARGET_STR_AVX3  \
  ",vpclmulqdq,avx512vbmi,avx512vbmi2,vaes,avxvnni,avx512bitalg,avx512vpopcntdq,avx512bf16"

HWY_BEFORE_NAMESPACE();
namespace slim {
namespace HWY_NAMESPACE {

HWY_INLINE __m512i load_pairs(const BFloat16* from) { return _mm512_loadu_si512(from); }

// Adds to each lane the two products of its halves.
HWY_INLINE __m512 add_products(__m512 sums, __m512i a, __m512i b) {
  return _mm512_dpbf16_ps(sums, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
}

// 32 numbers to nearest even, in their order.
HWY_INLINE __m512i round_pairs(Vector low, Vector high) {
  return reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high.raw, low.raw));
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace slim
HWY_AFTER_NAMESPACE();
#endif

#endif
