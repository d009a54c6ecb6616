// Turning squares of 32-bit words, for panels. Included once per target, inside foreach_target.

// Highway's way: a guard that admits the file once for each target.
#if defined(SLIM_KERNELS_CPU_TRANSPOSE_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SLIM_KERNELS_CPU_TRANSPOSE_INL_H
#undef SLIM_KERNELS_CPU_TRANSPOSE_INL_H
#else
#define SLIM_KERNELS_CPU_TRANSPOSE_INL_H
#endif

#include "kernels/cpu/lanes_inl.h"

HWY_BEFORE_NAMESPACE();
namespace slim {
namespace HWY_NAMESPACE {

// out[k * stride + i] = word k of row(i), for a register's number of words and rows. The words are
// moved only: they need not be floats.
template <typename Row>
HWY_INLINE void transpose_square(Row row, float* out, int64_t stride) {
#if HWY_TARGET == HWY_SCALAR
  out[0] = hn::GetLane(row(0));
  (void)stride;
#else
  // 4 x 4 blocks: interleaving pairs of rows twice turns four rows into four columns, in every
  // 128-bit block at once; storing block b of each result below that of block b - 1 does the rest.
  const Floats f;
  const hn::Repartition<uint64_t, Floats> pairs;
  const hn::FixedTag<float, 4> quad;
  HWY_ALIGN float lanes[4 * kLanes];
  for (int64_t i = 0; i < kLanes; i += 4) {
    const auto r0 = row(i);
    const auto r1 = row(i + 1);
    const auto r2 = row(i + 2);
    const auto r3 = row(i + 3);
    const auto low01 = hn::BitCast(pairs, hn::InterleaveLower(f, r0, r1));
    const auto high01 = hn::BitCast(pairs, hn::InterleaveUpper(f, r0, r1));
    const auto low23 = hn::BitCast(pairs, hn::InterleaveLower(f, r2, r3));
    const auto high23 = hn::BitCast(pairs, hn::InterleaveUpper(f, r2, r3));
    hn::Store(hn::BitCast(f, hn::InterleaveLower(pairs, low01, low23)), f, lanes);
    hn::Store(hn::BitCast(f, hn::InterleaveUpper(pairs, low01, low23)), f, lanes + kLanes);
    hn::Store(hn::BitCast(f, hn::InterleaveLower(pairs, high01, high23)), f, lanes + 2 * kLanes);
    hn::Store(hn::BitCast(f, hn::InterleaveUpper(pairs, high01, high23)), f, lanes + 3 * kLanes);
    for (int64_t column = 0; column < kLanes; ++column) {
      const float* four = lanes + (column % 4) * kLanes + column / 4 * 4;
      hn::StoreU(hn::Load(quad, four), quad, out + column * stride + i);
    }
  }
#endif
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace slim
HWY_AFTER_NAMESPACE();

#endif
