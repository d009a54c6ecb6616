// Rotary positions: angles, both ways to pair columns, and the split into page and row.
#include "tensor/rotation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "error_matchers.h"

namespace slim {
namespace {

std::vector<double> frequencies(int64_t pairs, double base = 10000.0) {
  std::vector<double> result;
  for (int64_t i = 0; i < pairs; ++i) {
    result.push_back(std::pow(base, -static_cast<double>(i) / static_cast<double>(pairs)));
  }
  return result;
}

std::vector<float> ramp(int64_t count) {
  std::vector<float> values;
  for (int64_t i = 0; i < count; ++i) values.push_back(0.25F * static_cast<float>(i) - 1.0F);
  return values;
}

std::vector<float> turned(const Rotation& rotation, int64_t position,
                          const std::vector<float>& head) {
  std::vector<float> result = head;
  rotation.apply(position, head.data(), result.data());
  return result;
}

// The formula in double. cos and sin of two angles each carry an error of 2^-25 or so; the product
// of two of them, 2^-23 in all.
TEST(Rotation, TurnsPairsByTheirAngles) {
  constexpr int64_t kWidth = 16;
  constexpr double kMagnitude = 1.25;
  const std::vector<double> angles = frequencies(kWidth / 2);
  const std::vector<float> head = ramp(kWidth);
  for (const bool interleaved : {false, true}) {
    const Rotation rotation(kWidth, interleaved, angles, kMagnitude, 131072);
    for (const int64_t position : {0, 1, 63, 64, 65, 1000, 65535, 131071}) {
      const std::vector<float> result = turned(rotation, position, head);
      for (size_t i = 0; i < kWidth / 2; ++i) {
        const size_t left = interleaved ? 2 * i : i;
        const size_t right = interleaved ? 2 * i + 1 : i + kWidth / 2;
        const double angle = static_cast<double>(position) * angles[i];
        const double a = static_cast<double>(head[left]);
        const double b = static_cast<double>(head[right]);
        const double bound = 4.0 * 0x1p-23 * kMagnitude * (std::fabs(a) + std::fabs(b));
        EXPECT_NEAR(result[left], kMagnitude * (a * std::cos(angle) - b * std::sin(angle)), bound)
            << position << ", pair " << i;
        EXPECT_NEAR(result[right], kMagnitude * (a * std::sin(angle) + b * std::cos(angle)), bound)
            << position << ", pair " << i;
      }
    }
  }
}

TEST(Rotation, PositionZeroIsTheIdentity) {
  for (const bool interleaved : {false, true}) {
    const Rotation rotation(8, interleaved, frequencies(4), 1.0, 64);
    EXPECT_EQ(turned(rotation, 0, ramp(8)), ramp(8));
  }
}

// What makes it a position: products of a query and a key depend on their distance alone.
TEST(Rotation, ProductsDependOnDistance) {
  constexpr int64_t kWidth = 32;
  const std::vector<float> key = ramp(kWidth);
  std::vector<float> query = ramp(kWidth);
  for (size_t i = 0; i < query.size(); i += 3) query[i] = -query[i];
  for (const bool interleaved : {false, true}) {
    const Rotation rotation(kWidth, interleaved, frequencies(kWidth / 2), 1.0, 100000);
    const auto product = [&](int64_t of_query, int64_t of_key) {
      const std::vector<float> q = turned(rotation, of_query, query);
      const std::vector<float> k = turned(rotation, of_key, key);
      double sum = 0.0;
      for (size_t i = 0; i < q.size(); ++i)
        sum += static_cast<double>(q[i]) * static_cast<double>(k[i]);
      return sum;
    };
    double size = 0.0;
    for (size_t i = 0; i < key.size(); ++i)
      size += static_cast<double>(std::fabs(key[i] * query[i]));
    for (const int64_t shift : {1, 64, 777, 90000}) {
      EXPECT_NEAR(product(300 + shift, 17 + shift), product(300, 17), 16.0 * 0x1p-24 * size * 2.0);
    }
  }
}

TEST(Rotation, TablesHoldPagesAndRows) {
  const std::vector<double> angles = frequencies(4);
  const Rotation rotation(8, false, angles, 1.0, 130);
  EXPECT_EQ(rotation.pairs(), 4);
  for (int64_t i = 0; i < 4; ++i) {
    EXPECT_EQ(rotation.row_cos(5)[i],
              static_cast<float>(std::cos(5.0 * angles[static_cast<size_t>(i)])));
    EXPECT_EQ(rotation.row_sin(63)[i],
              static_cast<float>(std::sin(63.0 * angles[static_cast<size_t>(i)])));
    EXPECT_EQ(rotation.page_cos(2)[i],
              static_cast<float>(std::cos(128.0 * angles[static_cast<size_t>(i)])));
    EXPECT_EQ(rotation.page_sin(3)[i],
              static_cast<float>(std::sin(192.0 * angles[static_cast<size_t>(i)])));
  }
}

TEST(Rotation, WhatCannotBeIsABug) {
  const std::vector<double> angles = frequencies(4);
  const auto is_bug = [](auto&& action) { return fails_with(ErrorCode::internal, {}, action); };
  EXPECT_TRUE(is_bug([&] { Rotation(7, false, angles, 1.0, 64); }));
  EXPECT_TRUE(is_bug([&] { Rotation(6, false, angles, 1.0, 64); }));
  EXPECT_TRUE(is_bug([&] { Rotation(8, false, angles, 1.0, -1); }));
  EXPECT_TRUE(is_bug([&] { Rotation(8, false, angles, 1.0, -1000); }));
  const Rotation rotation(8, false, angles, 1.0, 64);
  EXPECT_TRUE(is_bug([&] { turned(rotation, -1, ramp(8)); }));
  EXPECT_TRUE(is_bug([&] { turned(rotation, 65, ramp(8)); }));
}

}  // namespace
}  // namespace slim
