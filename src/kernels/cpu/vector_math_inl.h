// Vector functions shared by the files of vector code: loads of any weight type as f32, tails, the
// exponential and the activations. Included once per target, inside their foreach_target.
//
//   exp(x) = 2^n * (1 + r + r^2 q(r)), n = round(x / ln 2), r = x - n ln 2; q a minimax polynomial
//   gelu(x) = max(x, 0) - |x| * tail(|x|), tail(a) = erfc(a / sqrt 2) / 2 = p(a)^8
//
// The eighth root of the tail is so flat that a polynomial of degree 8 gives it to 3e-9; the whole
// is within 1.6e-7 of gelu, relative to max(1, |gelu|), without an exponential or a division.

// Highway's way: a guard that admits the file once for each target.
#if defined(SLIM_KERNELS_CPU_VECTOR_MATH_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SLIM_KERNELS_CPU_VECTOR_MATH_INL_H
#undef SLIM_KERNELS_CPU_VECTOR_MATH_INL_H
#else
#define SLIM_KERNELS_CPU_VECTOR_MATH_INL_H
#endif

#include "base/check.h"
#include "hwy/highway.h"
#include "tensor/dtype.h"

HWY_BEFORE_NAMESPACE();
namespace slim {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::ScalableTag<float>;
using Vector = hn::Vec<Floats>;

// A vector of lanes from `at`.
HWY_INLINE Vector load(const float* at) { return hn::LoadU(Floats(), at); }
HWY_INLINE Vector load(const Half* at) {
#if HWY_TARGET == HWY_SCALAR || HWY_TARGET == HWY_EMU128
  // Highway's own emulation takes infinity and NaN for large numbers.
  HWY_ALIGN float lanes[hn::MaxLanes(Floats())];
  for (size_t i = 0; i < hn::MaxLanes(Floats()); ++i) lanes[i] = to_float(at[i]);
  return hn::Load(Floats(), lanes);
#else
  const hn::Rebind<hwy::float16_t, Floats> halves;
  return hn::PromoteTo(Floats(), hn::LoadU(halves, reinterpret_cast<const hwy::float16_t*>(at)));
#endif
}
HWY_INLINE Vector load(const BFloat16* at) {
  const hn::Rebind<hwy::bfloat16_t, Floats> halves;
  return hn::PromoteTo(Floats(), hn::LoadU(halves, reinterpret_cast<const hwy::bfloat16_t*>(at)));
}

// Calls f with a null pointer of the element type.
template <typename Function>
void visit_weight(DType type, Function&& f) {
  switch (type) {
    case DType::f32:
      return f(static_cast<const float*>(nullptr));
    case DType::f16:
      return f(static_cast<const Half*>(nullptr));
    case DType::bf16:
      return f(static_cast<const BFloat16*>(nullptr));
    default:
      check(false, "weights are f32, f16 or bf16");
  }
}

// The first `count` < lanes from `at`, then zeros; touches nothing past them.
template <typename T>
HWY_INLINE Vector load_first(const T* at, int64_t count) {
  HWY_ALIGN float lanes[hn::MaxLanes(Floats())] = {};
  for (int64_t i = 0; i < count; ++i) lanes[i] = to_float(at[i]);
  return hn::Load(Floats(), lanes);
}
HWY_INLINE void store_first(Vector values, int64_t count, float* at) {
  HWY_ALIGN float lanes[hn::MaxLanes(Floats())];
  hn::Store(values, Floats(), lanes);
  for (int64_t i = 0; i < count; ++i) at[i] = lanes[i];
}

// e^x to 1.5 ulp; 0 below -87.3 (where f32 goes subnormal), infinity above 88.7; NaN stays.
HWY_INLINE Vector exponential(Vector x) {
  const Floats f;
  const hn::RebindToSigned<Floats> i;
  const auto clamped = hn::Min(hn::Max(x, hn::Set(f, -88.0F)), hn::Set(f, 89.0F));
  const auto n = hn::NearestInt(hn::Mul(clamped, hn::Set(f, 1.44269504F)));
  const auto whole = hn::ConvertTo(f, n);
  // ln 2 in two parts, the first of few bits: whole * 0.693359375 is exact.
  auto r = hn::NegMulAdd(whole, hn::Set(f, 0.693359375F), clamped);
  r = hn::NegMulAdd(whole, hn::Set(f, -2.12194440e-4F), r);
  auto q = hn::MulAdd(hn::Set(f, 0.00138145F), r, hn::Set(f, 0.00836875F));
  q = hn::MulAdd(q, r, hn::Set(f, 0.04166839F));
  q = hn::MulAdd(q, r, hn::Set(f, 0.1666652F));
  q = hn::MulAdd(q, r, hn::Set(f, 0.49999994F));
  const auto p = hn::Add(hn::Set(f, 1.0F), hn::MulAdd(hn::Mul(r, r), q, r));
  // n reaches 128, one more than an exponent holds: the last doubling is apart.
  const auto power = hn::BitCast(f, hn::ShiftLeft<23>(hn::Add(n, hn::Set(i, 126))));
  auto y = hn::Mul(hn::Mul(p, power), hn::Set(f, 2.0F));
  y = hn::IfThenZeroElse(hn::Lt(x, hn::Set(f, -87.3F)), y);
  return hn::IfThenElse(hn::IsNaN(x), x, y);
}

HWY_INLINE Vector gelu(Vector x) {
  const Floats f;
  const auto a = hn::Min(hn::Abs(x), hn::Set(f, 5.75F));  // beyond, a * tail(a) < 3e-8
  auto p = hn::MulAdd(hn::Set(f, -2.95879518e-7F), a, hn::Set(f, 7.47952047e-6F));
  p = hn::MulAdd(p, a, hn::Set(f, -6.02574579e-5F));
  p = hn::MulAdd(p, a, hn::Set(f, 3.42945136e-5F));
  p = hn::MulAdd(p, a, hn::Set(f, 0.00150436321F));
  p = hn::MulAdd(p, a, hn::Set(f, -0.000671956476F));
  p = hn::MulAdd(p, a, hn::Set(f, -0.0319280766F));
  p = hn::MulAdd(p, a, hn::Set(f, -0.091457415F));
  p = hn::MulAdd(p, a, hn::Set(f, 0.917004008F));
  const auto p2 = hn::Mul(p, p);
  const auto p4 = hn::Mul(p2, p2);
  const auto y = hn::NegMulAdd(a, hn::Mul(p4, p4), hn::Max(x, hn::Zero(f)));
  return hn::IfThenElse(hn::IsNaN(x), x, y);
}

// x / (1 + e^-2u) with u = sqrt(2 / pi) (x + 0.044715 x^3): the same as x/2 (1 + tanh u).
HWY_INLINE Vector gelu_tanh(Vector x) {
  const Floats f;
  const auto inner = hn::MulAdd(hn::Mul(x, x), hn::Set(f, 0.0713548163F), hn::Set(f, 1.59576912F));
  const auto e = exponential(hn::Neg(hn::Mul(x, inner)));
  return hn::Div(x, hn::Add(hn::Set(f, 1.0F), e));
}

HWY_INLINE Vector silu(Vector x) {
  const Floats f;
  return hn::Div(x, hn::Add(hn::Set(f, 1.0F), exponential(hn::Neg(x))));
}

// 1 - 2 / (e^2|x| + 1), with x's sign; a polynomial near 0, where that would cancel.
HWY_INLINE Vector tanh(Vector x) {
  const Floats f;
  const auto z = hn::Mul(x, x);
  auto p = hn::MulAdd(hn::Set(f, -0.00571704097F), z, hn::Set(f, 0.0206505843F));
  p = hn::MulAdd(p, z, hn::Set(f, -0.0537434965F));
  p = hn::MulAdd(p, z, hn::Set(f, 0.133314908F));
  p = hn::MulAdd(p, z, hn::Set(f, -0.333332837F));
  const auto near = hn::MulAdd(hn::Mul(p, z), x, x);
  const auto a = hn::Abs(x);
  const auto below = hn::Add(exponential(hn::Add(a, a)), hn::Set(f, 1.0F));
  const auto far = hn::Sub(hn::Set(f, 1.0F), hn::Div(hn::Set(f, 2.0F), below));
  return hn::IfThenElse(hn::Lt(a, hn::Set(f, 0.625F)), near, hn::CopySign(far, x));
}

}  // namespace HWY_NAMESPACE
}  // namespace slim
HWY_AFTER_NAMESPACE();

#endif
