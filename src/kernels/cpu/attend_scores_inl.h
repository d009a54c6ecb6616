// What happens to a tile's scores of one query: factor, cap and slope, then the running softmax.
// Included once per target, inside foreach_target.
//
//   tanh(x) = x + x^3 p(x^2) where |x| < 0.63 (p of degree 4: 6e-9), else 1 - 2 / (e^2|x| + 1)
// so that small scores keep their relative accuracy.

// Highway's way: a guard that admits the file once for each target.
#if defined(SLIM_KERNELS_CPU_ATTEND_SCORES_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SLIM_KERNELS_CPU_ATTEND_SCORES_INL_H
#undef SLIM_KERNELS_CPU_ATTEND_SCORES_INL_H
#else
#define SLIM_KERNELS_CPU_ATTEND_SCORES_INL_H
#endif

#include <algorithm>

#include "hwy/highway.h"
#include "kernels/cpu/attend_ops.h"
#include "kernels/cpu/lanes_inl.h"
#include "kernels/cpu/vector_math_inl.h"

HWY_BEFORE_NAMESPACE();
namespace slim {
namespace HWY_NAMESPACE {

// score = cap(factor * score) + slope * (distance + row of the tile)
struct Adjustment {
  const float* factors = nullptr;  // of the tile's rows, or none
  float cap = 0.0F;
  float slope = 0.0F;
  int64_t distance = 0;
};

inline void adjust_scores(float* scores, const Adjustment& a) {
  if (a.factors == nullptr && a.cap == 0.0F && a.slope == 0.0F) return;
  const Floats f;
  for (int64_t s = 0; s < kTileRows; s += kLanes) {
    Vector score = load(scores + s);
    if (a.factors != nullptr) score = hn::Mul(score, load(a.factors + s));
    if (a.cap != 0.0F) {
      const Vector cap = hn::Set(f, a.cap);
      score = hn::Mul(cap, tanh(hn::Div(score, cap)));
    }
    if (a.slope != 0.0F) {
      const Vector distance = hn::Iota(f, static_cast<float>(a.distance + s));
      score = hn::MulAdd(hn::Set(f, a.slope), distance, score);
    }
    hn::StoreU(score, f, scores + s);
  }
}

// weights[begin, end) = exp(scores - maximum) in place, with the state and the mixture brought up
// to the new maximum; the rest of the tile's weights are zeros. Returns their sum.
inline float weigh(float* weights, int64_t begin, int64_t end, SoftmaxState& state, float* mixed,
                   int64_t width) {
  const Floats f;
  std::fill_n(weights, begin, SoftmaxState::kEmpty);
  std::fill(weights + end, weights + kTileRows, SoftmaxState::kEmpty);
  Vector largest = load(weights);
  for (int64_t s = kLanes; s < kTileRows; s += kLanes) {
    largest = hn::Max(largest, load(weights + s));
  }
  const float factor = state.raise(hn::GetLane(hn::MaxOfLanes(f, largest)));
  if (factor != 1.0F) {
    const Vector by = hn::Set(f, factor);
    int64_t c = 0;
    for (; c + kLanes <= width; c += kLanes) {
      hn::StoreU(hn::Mul(load(mixed + c), by), f, mixed + c);
    }
    for (; c < width; ++c) mixed[c] *= factor;
  }
  const Vector origin = hn::Set(f, state.origin());
  Vector sum = hn::Zero(f);
  for (int64_t s = 0; s < kTileRows; s += kLanes) {
    const Vector weight = exponential(hn::Sub(load(weights + s), origin));
    sum = hn::Add(sum, weight);
    hn::StoreU(weight, f, weights + s);
  }
  const float total = hn::GetLane(hn::SumOfLanes(f, sum));
  state.sum += total;
  return total;
}

// Whether none of some numbers is infinite or NaN.
inline bool bfloat16s_finite(const BFloat16* numbers, int64_t count) {
  const hn::ScalableTag<uint16_t> u;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(u));
  const auto exponent = hn::Set(u, uint16_t{0x7F80});
  auto bad = hn::MaskFromVec(hn::Zero(u));
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const auto bits = hn::LoadU(u, reinterpret_cast<const uint16_t*>(numbers + i));
    bad = hn::Or(bad, hn::Eq(hn::And(bits, exponent), exponent));
  }
  bool finite = hn::AllFalse(u, bad);
  for (; i < count; ++i) finite = finite && (numbers[i].bits & 0x7F80U) != 0x7F80U;
  return finite;
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace slim
HWY_AFTER_NAMESPACE();

#endif
