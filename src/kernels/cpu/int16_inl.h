// Products of pairs of 16-bit integers. Included once per target, inside foreach_target, after all
// that defines the target anew. A word is two such numbers, the first in its lower half.

// Highway's way: a guard that admits the file once for each target.
#if defined(SLIM_KERNELS_CPU_INT16_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SLIM_KERNELS_CPU_INT16_INL_H
#undef SLIM_KERNELS_CPU_INT16_INL_H
#else
#define SLIM_KERNELS_CPU_INT16_INL_H
#endif

#include "kernels/cpu/lanes_inl.h"
// After all others.
#include "kernels/cpu/vnni_inl.h"

HWY_BEFORE_NAMESPACE();
namespace slim {
namespace HWY_NAMESPACE {

// Sums of products of pairs. To GCC 12 an __m256i is of long long: what adds ints to it then has
// its result in a register of its own, which is one too many for every sum.
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
using PairSums = int32_t __attribute__((vector_size(sizeof(IntVector))));
HWY_INLINE IntVector lanes_of(PairSums sums) {
  return IntVector{reinterpret_cast<decltype(IntVector::raw)>(sums)};
}
#else
using PairSums = IntVector;
HWY_INLINE IntVector lanes_of(PairSums sums) { return sums; }
#endif

// Adds to each lane the two products of its word of `a` with that of `b`. Numbers are within
// +-32767.
HWY_INLINE void multiply_pairs(IntVector a, IntVector b, PairSums& sums) {
#if HWY_TARGET == HWY_AVX3_DL
  sums = reinterpret_cast<PairSums>(_mm512_dpwssd_epi32(lanes_of(sums).raw, a.raw, b.raw));
#elif HWY_TARGET == HWY_SCALAR
  const auto low = [](IntVector word) { return int32_t{static_cast<int16_t>(hn::GetLane(word))}; };
  const auto high = [](IntVector word) { return hn::GetLane(word) >> 16; };
  // Of NaN's integers, which are of no account, a sum may be beyond 32 bits.
  const auto products = [](int32_t x, int32_t y) { return static_cast<uint32_t>(x * y); };
  const uint32_t sum = products(low(a), low(b)) + products(high(a), high(b));
  sums = hn::Add(sums, hn::Set(Ints(), static_cast<int32_t>(sum)));
#else
  const hn::Repartition<int16_t, Ints> halves;
  auto rest = hn::Zero(Ints());
  const auto products = hn::ReorderWidenMulAccumulate(
      Ints(), hn::BitCast(halves, a), hn::BitCast(halves, b), hn::Zero(Ints()), rest);
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3
  sums += reinterpret_cast<PairSums>(products.raw);
#else
  sums = hn::Add(sums, hn::RearrangeToOddPlusEven(products, rest));
#endif
#endif
}

// A word of each lane of `low` and of `high`, which are within +-32767.
HWY_INLINE IntVector join_halves(IntVector low, IntVector high) {
  return hn::Or(hn::And(low, hn::Set(Ints(), 0xFFFF)), hn::ShiftLeft<16>(high));
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace slim
HWY_AFTER_NAMESPACE();

#endif
