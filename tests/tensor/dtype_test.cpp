// Conversions: every pattern of 16 bits there and back, and rounding against an independent
// statement of "nearest, ties to even".
#include "tensor/dtype.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <type_traits>

#include "error_matchers.h"

namespace slim {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// The value of a small binary float by its definition, in double.
double by_definition(uint16_t bits, int exponent_bits, int fraction_bits) {
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const int exponent = (bits >> fraction_bits) & ((1 << exponent_bits) - 1);
  const int fraction = bits & ((1 << fraction_bits) - 1);
  const double sign = (bits & 0x8000) != 0 ? -1.0 : 1.0;
  const double part = std::ldexp(fraction, -fraction_bits);
  if (exponent == (1 << exponent_bits) - 1) return fraction != 0 ? NAN : sign * INFINITY;
  if (exponent == 0) return sign * std::ldexp(part, 1 - bias);
  return sign * std::ldexp(1.0 + part, exponent - bias);
}

template <typename T>
struct Traits;
template <>
struct Traits<Half> {
  static constexpr int kExponent = 5;
  static constexpr int kFraction = 10;
  static Half from(float value) { return to_half(value); }
};
template <>
struct Traits<BFloat16> {
  static constexpr int kExponent = 8;
  static constexpr int kFraction = 7;
  static BFloat16 from(float value) { return to_bfloat16(value); }
};

template <typename T>
class SmallFloat : public testing::Test {
 protected:
  static constexpr uint16_t kInfinityBits = Traits<T>::kExponent == 5 ? 0x7C00 : 0x7F80;
  static bool is_nan(uint16_t bits) { return (bits & 0x7FFF) > kInfinityBits; }
};
using SmallFloats = testing::Types<Half, BFloat16>;
TYPED_TEST_SUITE(SmallFloat, SmallFloats);

TYPED_TEST(SmallFloat, EveryPatternHasItsValueAndComesBack) {
  using Float = Traits<TypeParam>;
  for (uint32_t i = 0; i <= 0xFFFF; ++i) {
    const auto bits = static_cast<uint16_t>(i);
    const float value = to_float(TypeParam{bits});
    const double expected = by_definition(bits, Float::kExponent, Float::kFraction);
    if (this->is_nan(bits)) {
      ASSERT_TRUE(std::isnan(value)) << i;
      // A NaN keeps being one and keeps its sign; its payload is nobody's business.
      const uint16_t back = Float::from(value).bits;
      ASSERT_TRUE(this->is_nan(back)) << i;
      ASSERT_EQ(back & 0x8000, bits & 0x8000) << i;
      continue;
    }
    ASSERT_EQ(static_cast<double>(value), expected) << i;
    ASSERT_EQ(std::signbit(value), (bits & 0x8000) != 0) << i;
    ASSERT_EQ(Float::from(value).bits, bits) << i;
  }
}

// Between each two neighbours: their middle goes to the even one, either side of it to the nearer.
TYPED_TEST(SmallFloat, RoundsToNearestEven) {
  using Float = Traits<TypeParam>;
  for (uint16_t bits = 0; bits < this->kInfinityBits; ++bits) {
    const auto next = static_cast<uint16_t>(bits + 1);
    const double low = by_definition(bits, Float::kExponent, Float::kFraction);
    // Beyond the largest number stands the power of two at which the exponent runs out.
    const double high = next == this->kInfinityBits
                            ? std::ldexp(1.0, 1 << (Float::kExponent - 1))
                            : by_definition(next, Float::kExponent, Float::kFraction);
    const auto middle = static_cast<float>((low + high) / 2);  // exact: 24 bits are plenty
    const uint16_t even = (bits & 1) == 0 ? bits : next;
    for (const float sign : {1.0F, -1.0F}) {
      const auto rounded = [&](float value) {
        return static_cast<uint16_t>(Float::from(sign * value).bits & 0x7FFF);
      };
      ASSERT_EQ(rounded(middle), even) << bits;
      ASSERT_EQ(rounded(std::nextafterf(middle, 0.0F)), bits) << bits;
      ASSERT_EQ(rounded(std::nextafterf(middle, kInfinity)), next) << bits;
      ASSERT_EQ(Float::from(sign * middle).bits >> 15, sign < 0 ? 1 : 0) << bits;
    }
  }
}

TYPED_TEST(SmallFloat, ExtremesOfBinary32) {
  using Float = Traits<TypeParam>;
  EXPECT_EQ(Float::from(kInfinity).bits, this->kInfinityBits);
  EXPECT_EQ(Float::from(-kInfinity).bits, this->kInfinityBits | 0x8000);
  EXPECT_EQ(Float::from(std::numeric_limits<float>::max()).bits, this->kInfinityBits);
  EXPECT_EQ(Float::from(-0.0F).bits, 0x8000);
  EXPECT_EQ(Float::from(std::numeric_limits<float>::denorm_min()).bits, 0);
  EXPECT_TRUE(this->is_nan(Float::from(kNaN).bits));
  // NaNs whose payload sits in the bits that are cut off must not become infinity.
  EXPECT_TRUE(this->is_nan(Float::from(std::bit_cast<float>(0x7F800001U)).bits));
  EXPECT_TRUE(this->is_nan(Float::from(std::bit_cast<float>(0xFFFFFFFFU)).bits));
}

TEST(DType, HasSizesAndNames) {
  EXPECT_EQ(size_of(DType::f32), 4);
  EXPECT_EQ(size_of(DType::f16), 2);
  EXPECT_EQ(size_of(DType::bf16), 2);
  EXPECT_EQ(size_of(DType::i8), 1);
  EXPECT_EQ(size_of(DType::i16), 2);
  EXPECT_EQ(size_of(DType::i32), 4);
  EXPECT_EQ(name_of(DType::bf16), "bf16");
}

TEST(DType, VisitGivesTheElementType) {
  const auto width = [](DType type) {
    return visit(type, [](auto tag) { return sizeof(typename decltype(tag)::type); });
  };
  for (const DType type : {DType::f32, DType::f16, DType::bf16, DType::i8}) {
    EXPECT_EQ(static_cast<int64_t>(width(type)), size_of(type));
  }
  const bool half = visit(
      DType::f16, [](auto tag) { return std::is_same_v<typename decltype(tag)::type, Half>; });
  EXPECT_TRUE(half);
  EXPECT_TRUE(fails_with(ErrorCode::internal, {"i16"}, [&] { width(DType::i16); }));
  EXPECT_TRUE(fails_with(ErrorCode::internal, {"i32"}, [&] { width(DType::i32); }));
}

}  // namespace
}  // namespace slim
