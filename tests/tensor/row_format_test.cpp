// Rows in pages: layouts, rounding, and what becomes of NaN, infinity and nothing.
#include "tensor/row_format.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "error_matchers.h"

namespace slim {
namespace {

using Floats = std::vector<float>;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// In an allocation of exactly the row's bytes, so that a sanitizer sees any step beyond it.
std::vector<std::byte> encoded(const RowFormat& format, const Floats& values) {
  std::vector<std::byte> row(static_cast<size_t>(format.bytes()));
  encode_row(format, values.data(), row.data());
  return row;
}

Floats decoded(const RowFormat& format, const std::vector<std::byte>& row) {
  Floats values(static_cast<size_t>(format.width));
  decode_row(format, row.data(), values.data());
  return values;
}

Floats round_trip(const RowFormat& format, const Floats& values) {
  return decoded(format, encoded(format, values));
}

Floats normal(int64_t count, float scale) {
  std::mt19937 random(7);
  std::normal_distribution<float> distribution(0.0F, scale);
  Floats values(static_cast<size_t>(count));
  std::generate(values.begin(), values.end(), [&] { return distribution(random); });
  return values;
}

float scale_of(const RowFormat& format, const std::vector<std::byte>& row, int64_t group) {
  BFloat16 scale;
  std::memcpy(&scale, row.data() + format.width + 2 * group, 2);
  return to_float(scale);
}

TEST(RowFormat, CountsBytes) {
  EXPECT_EQ((RowFormat{DType::f32, 3}.bytes()), 12);
  EXPECT_EQ((RowFormat{DType::f16, 3}.bytes()), 6);
  EXPECT_EQ((RowFormat{DType::bf16, 5}.bytes()), 10);
  EXPECT_EQ((RowFormat{DType::i8, 64}.bytes()), 72);
  EXPECT_EQ((RowFormat{DType::i16, 64}.bytes()), 192);
  EXPECT_EQ((RowFormat{DType::i16, 30}.bytes()), 64);
  EXPECT_EQ((RowFormat{DType::i16, 31}.bytes()), 128);
}

TEST(RowFormat, KnowsWhatItCanHold) {
  EXPECT_TRUE((RowFormat{DType::f16, 1}.valid()));
  EXPECT_TRUE((RowFormat{DType::i8, 32}.valid()));
  EXPECT_FALSE((RowFormat{DType::i8, 33}.valid()));
  EXPECT_FALSE((RowFormat{DType::f32, 0}.valid()));
  EXPECT_FALSE((RowFormat{DType::f32, -4}.valid()));
  EXPECT_TRUE((RowFormat{DType::i16, 31}.valid()));
  EXPECT_FALSE((RowFormat{DType::i16, 32, 8}.valid()));
  EXPECT_FALSE((RowFormat{DType::i32, 32}.valid()));
}

TEST(RowFormat, FloatRowsAreTheConversions) {
  const Floats values = {1.0F,      -0.0F,      1e-8F, 70000.0F, -3.14159F,
                         kInfinity, -kInfinity, 6e-8F, 1e38F,    2049.0F};
  const auto width = static_cast<int64_t>(values.size());
  EXPECT_EQ(round_trip({DType::f32, width}, values), values);
  Floats halves;
  Floats brains;
  for (const float value : values) {
    halves.push_back(to_float(to_half(value)));
    brains.push_back(to_float(to_bfloat16(value)));
  }
  EXPECT_EQ(round_trip({DType::f16, width}, values), halves);
  EXPECT_EQ(round_trip({DType::bf16, width}, values), brains);
  for (const DType type : {DType::f32, DType::f16, DType::bf16}) {
    EXPECT_TRUE(std::isnan(round_trip({type, 2}, {1.0F, kNaN})[1]));
    EXPECT_EQ(round_trip({type, 2}, {1.0F, kNaN})[0], 1.0F);
  }
}

TEST(RowFormat, OddAddressesAreFine) {
  const Floats values = normal(32, 1.0F);
  for (const DType type : {DType::f32, DType::f16, DType::bf16, DType::i8, DType::i16}) {
    const RowFormat format{type, 32};
    std::vector<std::byte> row(static_cast<size_t>(format.bytes()) + 1);
    encode_row(format, values.data(), row.data() + 1);
    Floats back(32);
    decode_row(format, row.data() + 1, back.data());
    EXPECT_EQ(back, round_trip(format, values));
  }
}

// The scale is at least half the range / 127. The middle is off by at most 2^-7 of itself, which
// adds to the distances; the scale, a bf16 of 8 bits, is at most 1 + 2^-7 times what is needed; an
// element is off by at most half a scale, but for the last bits of a float's quotient (1e-6).
TEST(RowFormat, Int8IsWithinHalfAScale) {
  for (const float size : {1e-30F, 1e-3F, 1.0F, 1e4F, 1e30F}) {
    for (const float shift : {0.0F, 3.0F, -100.0F}) {
      const RowFormat format{DType::i8, 128};
      Floats values = normal(128, size);
      for (float& value : values) value += shift * size;
      const auto row = encoded(format, values);
      const Floats back = decoded(format, row);
      for (size_t group = 0; group < 4; ++group) {
        const float scale = scale_of(format, row, static_cast<int64_t>(group));
        const auto begin = values.begin() + static_cast<ptrdiff_t>(32 * group);
        const auto [lowest, highest] = std::minmax_element(begin, begin + 32);
        const float middle = std::fabs(0.5F * (*lowest + *highest));
        const float reach = 0.5F * (*highest - *lowest);
        for (size_t at = 32 * group; at < 32 * (group + 1); ++at) {
          EXPECT_LE(std::fabs(back[at] - values[at]),
                    scale * (0.5F + 1e-6F) + 1e-6F * (reach + middle));
        }
        EXPECT_GE(scale, reach / 127.0F * (1.0F - 1e-6F));
        EXPECT_LE(scale, (reach + middle * 0x1p-7F) / 127.0F * (1.0F + 0x1p-7F));
      }
    }
  }
}

TEST(RowFormat, Int8GroupsDoNotTouchEachOther) {
  Floats values(64, 0.001F);
  values[40] = 1000.0F;
  const Floats back = round_trip({DType::i8, 64}, values);
  EXPECT_NEAR(back[0], 0.001F, 0.001F * 0x1p-7F);
  EXPECT_NEAR(back[41], 0.0F, 500.0F / 127.0F);
}

TEST(RowFormat, Int8BytesReachButDoNotPass127) {
  // Rounding the scale down would push the largest quotient to 128.
  for (float largest = 1.0F; largest < 2.0F; largest += 0.0009765625F) {
    Floats values(32, -largest);
    values[1] = largest;
    const auto row = encoded({DType::i8, 32}, values);
    ASSERT_GE(static_cast<int8_t>(row[0]), -127) << largest;
    ASSERT_LT(static_cast<int8_t>(row[0]), -120) << largest;
    ASSERT_GT(static_cast<int8_t>(row[1]), 120) << largest;
  }
}

TEST(RowFormat, Int8RoundsTiesToEven) {
  Floats values(32, 0.0F);
  values[0] = 127.0F;  // makes the scale 1 and the middle 0
  values[31] = -127.0F;
  values[1] = 0.5F;
  values[2] = 1.5F;
  values[3] = -2.5F;
  const Floats back = round_trip({DType::i8, 32}, values);
  EXPECT_EQ(back[0], 127.0F);
  EXPECT_EQ(back[1], 0.0F);
  EXPECT_EQ(back[2], 2.0F);
  EXPECT_EQ(back[3], -2.0F);
}

TEST(RowFormat, Int8ZeroGroupsAreZero) {
  Floats values(64, 0.0F);
  values[3] = -0.0F;
  std::fill(values.begin() + 32, values.end(), 1.0F);
  const Floats back = round_trip({DType::i8, 64}, values);
  for (size_t i = 0; i < 32; ++i) EXPECT_EQ(back[i], 0.0F);
  for (size_t i = 32; i < 64; ++i) EXPECT_NEAR(back[i], 1.0F, 0x1p-7F);
}

TEST(RowFormat, Int8SubnormalGroupsStayFinite) {
  for (const float tiny : {1e-45F, 1e-42F, 1e-38F}) {
    for (const float value : round_trip({DType::i8, 32}, Floats(32, tiny))) {
      EXPECT_TRUE(std::isfinite(value));
      // Middles and scales are multiples of 2^-133, the smallest bf16.
      EXPECT_NEAR(value, tiny, 0x1p-133F + tiny * 0x1p-7F);
    }
  }
}

TEST(RowFormat, Int8ANaNPoisonsItsGroupAlone) {
  for (const size_t at : {0U, 1U, 31U}) {
    Floats values(64, 1.0F);
    values[at] = kNaN;
    values[(at + 1) % 32] = kInfinity;
    const Floats back = round_trip({DType::i8, 64}, values);
    for (size_t i = 0; i < 32; ++i) EXPECT_TRUE(std::isnan(back[i])) << at;
    for (size_t i = 32; i < 64; ++i) EXPECT_NEAR(back[i], 1.0F, 0x1p-7F);
  }
}

TEST(RowFormat, Int8AnInfinityIsNeverFinite) {
  for (const float infinite : {kInfinity, -kInfinity}) {
    Floats values(64, 1.0F);
    values[5] = infinite;
    const Floats back = round_trip({DType::i8, 64}, values);
    for (size_t i = 0; i < 32; ++i) EXPECT_FALSE(std::isfinite(back[i]));
    for (size_t i = 32; i < 64; ++i) EXPECT_TRUE(std::isfinite(back[i]));
  }
}

struct Integers {
  explicit Integers(const Floats& values) : numbers(values.size()) {
    const auto row = encoded({DType::i16, std::ssize(values)}, values);
    const size_t bytes = 2 * values.size();
    std::memcpy(numbers.data(), row.data(), bytes);
    std::memcpy(&scale, row.data() + bytes, sizeof(scale));
    for (size_t at = bytes + 4; at < row.size(); ++at) EXPECT_EQ(row[at], std::byte{0}) << at;
  }
  double norm() const {
    double squares = 0.0;
    for (const int16_t number : numbers) squares += double{1} * number * number;
    return std::sqrt(squares);
  }
  std::vector<int16_t> numbers;
  float scale = 0.0F;
};

double norm_of(const Floats& values) {
  double squares = 0.0;
  for (const float value : values) squares += static_cast<double>(value) * value;
  return std::sqrt(squares);
}

// The scale is that of the norm or of the largest number; an element is off by half of it, but for
// the last bits of a float's quotient and product (32767 * 2^-23 of a scale).
TEST(RowFormat, Int16IsWithinHalfAScale) {
  for (const int64_t width : {1, 7, 31, 32, 65, 128, 1280}) {
    for (const float size : {1e-30F, 1e-3F, 1.0F, 1e4F, 1e30F, 1e37F}) {
      for (const bool spike : {false, true}) {
        Floats values = normal(width, size);
        if (spike) values.back() = 30.0F * size;
        const Integers integers(values);
        float largest = 0.0F;
        for (const float value : values) largest = std::max(largest, std::fabs(value));
        const double exact = std::max(norm_of(values) / 46000.0, largest / 32767.0);
        EXPECT_NEAR(integers.scale / exact, 1.0, 0x1p-23) << width << ", " << size;
        EXPECT_LE(integers.norm(), 46000.0 * (1.0 + 0x1p-20) + std::sqrt(double(width)) / 2.0);
        const Floats back = round_trip({DType::i16, width}, values);
        for (size_t i = 0; i < values.size(); ++i) {
          ASSERT_LE(std::abs(int{integers.numbers[i]}), 32767);
          ASSERT_LE(std::fabs(back[i] - values[i]), integers.scale * 0.51F) << i;
          ASSERT_EQ(back[i], integers.numbers[i] * integers.scale) << i;
        }
      }
    }
  }
}

TEST(RowFormat, Int16ProductsStayWithin32Bits) {
  for (const int64_t width : {1, 2, 3, 32, 1280, 100000}) {
    for (const bool even : {false, true}) {
      Floats values(static_cast<size_t>(width), even ? 1.0F : 0.0F);
      values[0] = 1.0F;
      const double norm = Integers(values).norm();
      EXPECT_LT(norm * norm, 0x1p31) << width;
      EXPECT_GT(norm, 32766.0) << width;
    }
  }
}

TEST(RowFormat, Int16RoundsTiesToEven) {
  const Floats back = round_trip({DType::i16, 5}, {32767.0F, 0.5F, 1.5F, -2.5F, -0.0F});
  EXPECT_EQ(back, (Floats{32767.0F, 0.0F, 2.0F, -2.0F, 0.0F}));
}

TEST(RowFormat, Int16OfNothingIsZero) {
  for (const float tiny : {0.0F, 1e-45F, 1e-38F, 0x1.FFFFFEp-111F}) {
    const Integers integers(Floats(40, tiny));
    EXPECT_EQ(integers.scale, 0.0F) << tiny;
    EXPECT_EQ(integers.norm(), 0.0) << tiny;
  }
  EXPECT_GT(Integers(Floats(40, 0x1p-110F)).scale, std::numeric_limits<float>::min());
}

TEST(RowFormat, Int16WhatIsNotFinitePoisonsItsRow) {
  for (const float bad : {kNaN, kInfinity, -kInfinity}) {
    for (const size_t at : {0U, 15U, 33U}) {
      Floats values(34, 1e38F);
      values[at] = bad;
      EXPECT_EQ(Integers(values).norm(), 0.0) << at;
      for (const float value : round_trip({DType::i16, 34}, values)) {
        EXPECT_TRUE(std::isnan(value)) << at;
      }
    }
  }
}

TEST(RowFormat, OtherTypesAreBugs) {
  std::byte row[128];
  float values[32] = {};
  EXPECT_TRUE(fails_with(ErrorCode::internal, {"i32"}, [&] {
    encode_row({DType::i32, 32}, values, row);
  }));
  EXPECT_TRUE(fails_with(ErrorCode::internal, {"i32"}, [&] {
    decode_row({DType::i32, 32}, row, values);
  }));
}

}  // namespace
}  // namespace slim
