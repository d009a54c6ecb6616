// Rows with ties, NaN and nothing in them.
#include "engine/logits.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/random_numbers.h"

namespace slim {
namespace {

constexpr float kForbidden = -std::numeric_limits<float>::infinity();

TEST(Argmax, LowestIndexWinsATieAndNaNNever) {
  EXPECT_EQ(argmax(std::vector<float>{1, 3, 3, 2}), 1);
  EXPECT_EQ(argmax(std::vector<float>{std::nanf(""), -1, std::nanf(""), -2}), 1);
  EXPECT_EQ(argmax(std::vector<float>{kForbidden, kForbidden}), -1);
  EXPECT_EQ(argmax({}), -1);
  std::vector<float> long_row(1003, 0.0F);
  for (const size_t place : {size_t{0}, size_t{7}, size_t{512}, size_t{1000}, size_t{1002}}) {
    long_row[place] = 5;
    EXPECT_EQ(argmax(long_row), static_cast<int64_t>(place));
    long_row[place] = 0;
  }
}

TEST(Largest, AreInOrderTheLowestIndexOfEqualsFirst) {
  const float nan = std::nanf("");
  const std::vector<float> row = {2, nan, 5, kForbidden, 5, 1, 2};
  EXPECT_EQ(largest(row, 0), (std::vector<int64_t>{}));
  EXPECT_EQ(largest(row, 1), (std::vector<int64_t>{2}));
  EXPECT_EQ(largest(row, 3), (std::vector<int64_t>{2, 4, 0}));
  EXPECT_EQ(largest(row, 9), (std::vector<int64_t>{2, 4, 0, 6, 5}));
  EXPECT_EQ(largest({}, 3), (std::vector<int64_t>{}));
  EXPECT_EQ(largest(std::vector<float>(7, nan), 3), (std::vector<int64_t>{}));
}

TEST(Largest, AreThoseOfASortedRow) {
  RandomNumbers random(3);
  for (const size_t size : {size_t{1}, size_t{255}, size_t{256}, size_t{257}, size_t{1000}}) {
    std::vector<float> row(size);
    // Few different values: many ties.
    for (float& value : row) value = static_cast<float>(std::floor(random.uniform() * 50));
    std::vector<int64_t> sorted(size);
    for (size_t i = 0; i < size; ++i) sorted[i] = static_cast<int64_t>(i);
    std::stable_sort(sorted.begin(), sorted.end(), [&](int64_t a, int64_t b) {
      return row[static_cast<size_t>(a)] > row[static_cast<size_t>(b)];
    });
    for (const size_t count : {size_t{1}, size_t{6}, size_t{40}}) {
      const std::vector<int64_t> expected(
          sorted.begin(), sorted.begin() + static_cast<ptrdiff_t>(std::min(count, size)));
      EXPECT_EQ(largest(row, count), expected) << size << ' ' << count;
    }
  }
}

}  // namespace
}  // namespace slim
