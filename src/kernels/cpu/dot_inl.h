// What both forms of dot products share (product_ops.cpp, block_products.cpp): asking for memory
// ahead, and the final sums. Included once per target, inside foreach_target.

// Highway's way: a guard that admits the file once for each target.
#if defined(SLIM_KERNELS_CPU_DOT_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SLIM_KERNELS_CPU_DOT_INL_H
#undef SLIM_KERNELS_CPU_DOT_INL_H
#else
#define SLIM_KERNELS_CPU_DOT_INL_H
#endif

#include "hwy/cache_control.h"
#include "kernels/cpu/vector_math_inl.h"

HWY_BEFORE_NAMESPACE();
namespace slim {
namespace HWY_NAMESPACE {

// Rows that are multiplied together: `size` of them, at most four, up to row `end`, and size - 1
// from there on. Even groups: 5 rows are 3 and 2, not 4 and 1.
struct RowGroups {
  int64_t size;
  int64_t end;
};
inline RowGroups even_groups(int64_t rows) {
  const int64_t groups = (rows + 3) / 4;
  const int64_t size = (rows + groups - 1) / groups;
  return {size, (rows - groups * (size - 1)) * size};
}

// Asks for the `bytes` at `at`, and returns what follows them. Whoever reads several rows of a
// weight side by side asks for the next rows meanwhile, in the order of memory: side by side, the
// hardware does not see that they are one stream. (Eight rows of 51864 x 384 in f16, one core: 10
// GB/s without, 11 with each row asked for beside its predecessor, 18 to 23 so, of 25 to 38 that a
// plain read gets.) Rows read one after another are a stream that the hardware does see, and
// asking for more only delays it: see multiply_stream in product_ops.cpp.
template <size_t bytes>
HWY_INLINE const char* prefetch(const char* at) {
  for (size_t line = 0; line < bytes; line += 64) hwy::Prefetch(at + line);
  return at + bytes;
}

#if HWY_TARGET != HWY_SCALAR
template <typename T>
HWY_INLINE auto fold(hn::Vec128<T> v) {
  return v;
}
template <typename V>
HWY_INLINE auto fold(V v) {  // the sum of the 128-bit blocks
  const hn::Half<hn::DFromV<V>> half;
  return fold(hn::Add(hn::LowerHalf(half, v), hn::UpperHalf(half, v)));
}

// The sums of the lanes of four vectors: two interleavings leave each block with one partial sum
// of each.
template <typename V>
HWY_INLINE auto four_sums(V v0, V v1, V v2, V v3) {
  const hn::DFromV<V> d;
  const hn::Repartition<uint64_t, decltype(d)> pairs;
  const auto s01 = hn::Add(hn::InterleaveLower(d, v0, v1), hn::InterleaveUpper(d, v0, v1));
  const auto s23 = hn::Add(hn::InterleaveLower(d, v2, v3), hn::InterleaveUpper(d, v2, v3));
  const auto a = hn::BitCast(pairs, s01);
  const auto b = hn::BitCast(pairs, s23);
  return fold(hn::Add(hn::BitCast(d, hn::InterleaveLower(pairs, a, b)),
                      hn::BitCast(d, hn::InterleaveUpper(pairs, a, b))));
}
#endif

// out[n] = the sum of the lanes of sums[n] (+ out[n]).
template <int outputs>
HWY_INLINE void add_lanes(const Vector (&sums)[outputs], bool accumulate, float* out) {
  const Floats f;
#if HWY_TARGET != HWY_SCALAR
  const hn::FixedTag<float, 4> quad;
  constexpr int whole = outputs / 4 * 4;
  for (int n = 0; n < whole; n += 4) {
    const auto four = four_sums(sums[n], sums[n + 1], sums[n + 2], sums[n + 3]);
    hn::StoreU(accumulate ? hn::Add(four, hn::LoadU(quad, out + n)) : four, quad, out + n);
  }
#else
  constexpr int whole = 0;
#endif
  for (int n = whole; n < outputs; ++n) {
    const float sum = hn::GetLane(hn::SumOfLanes(f, sums[n]));
    out[n] = accumulate ? sum + out[n] : sum;
  }
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace slim
HWY_AFTER_NAMESPACE();

#endif
