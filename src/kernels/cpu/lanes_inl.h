// How many floats a vector has, and vectors of integers beside those of vector_math_inl.h. Included
// once per target, inside foreach_target.

// Highway's way: a guard that admits the file once for each target.
#if defined(SLIM_KERNELS_CPU_LANES_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SLIM_KERNELS_CPU_LANES_INL_H
#undef SLIM_KERNELS_CPU_LANES_INL_H
#else
#define SLIM_KERNELS_CPU_LANES_INL_H
#endif

#include "hwy/highway.h"
#include "kernels/cpu/vector_math_inl.h"

HWY_BEFORE_NAMESPACE();
namespace slim {
namespace HWY_NAMESPACE {

constexpr int64_t kLanes = hn::MaxLanes(Floats());
using Ints = hn::RebindToSigned<Floats>;
using IntVector = hn::Vec<Ints>;

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace slim
HWY_AFTER_NAMESPACE();

#endif
