// The factors against their definitions: pseudo-inverses of tall matrices, and singular triples of
// matrices built with known singular values, singular ones among them.
#include "transforms/tall_factor.h"

#include "transforms/matrices.h"

namespace slim {
namespace {

TEST(TallFactor, MultipliesByThePseudoInverse) {
  for (const int64_t rows : {30, 41}) {
    const Dense a = with_singular_values(rows, geometric(30, 100), 1);
    const Dense x = random_matrix(7, 30, 2);
    const Dense through = TallFactor(a).through_inverse(x);
    ASSERT_EQ(through.columns, rows);
    const Dense back = naive_product(through, a);  // x A^+ A = x
    for (size_t i = 0; i < x.values.size(); ++i) EXPECT_NEAR(back.values[i], x.values[i], 1e-12);
  }
}

// Of 90 values falling by a tenth each, the 5 smallest of 21 iterated on: (1.1^-16)^12 is 1e-8.
TEST(TallFactor, FindsTheSmallestSingularTriples) {
  constexpr int64_t kWidth = 90;
  constexpr int64_t kCount = 5;
  const std::vector<double> values = geometric(kWidth, std::pow(1.1, kWidth - 1));
  for (const int64_t rows : {kWidth, kWidth + 17}) {
    const Dense a = with_singular_values(rows, values, 3);
    const TallFactor::Triples found = TallFactor(a).smallest(kCount);
    ASSERT_EQ(std::ssize(found.values), kCount);
    const Dense images = naive_product(found.right, transpose(a));
    for (int64_t i = 0; i < kCount; ++i) {
      const double value = found.values[static_cast<size_t>(i)];
      EXPECT_NEAR(value / values[static_cast<size_t>(kWidth - 1 - i)], 1, 1e-7);
      for (int64_t j = 0; j < rows; ++j) {
        EXPECT_NEAR(images.at(i, j), value * found.left.at(i, j), 1e-12);
      }
    }
    for (const Dense& basis : {found.left, found.right}) {
      const Dense gram = naive_product(basis, transpose(basis));
      for (int64_t i = 0; i < kCount; ++i) {
        for (int64_t j = 0; j < kCount; ++j) EXPECT_NEAR(gram.at(i, j), i == j, 1e-12);
      }
    }
  }
}

TEST(TallFactor, TakesSingularMatrices) {
  std::vector<double> values = geometric(40, 10);
  std::fill(values.end() - 3, values.end(), 0.0);
  Dense missing = random_matrix(40, 40, 5);
  for (int64_t i = 0; i < 40; ++i) missing.at(i, 11) = 0;
  for (const auto& [a, zeros] :
       {std::pair{with_singular_values(40, values, 4), 3}, {missing, 1}, {Dense(6, 4), 0}}) {
    const TallFactor::Triples found = TallFactor(a).smallest(4);
    for (const double value : found.values) EXPECT_TRUE(std::isfinite(value));
    for (int i = 0; i < zeros; ++i) EXPECT_LT(found.values[static_cast<size_t>(i)], 1e-14);
    const Dense images = naive_product(found.right, transpose(a));
    for (int64_t i = 0; i < zeros; ++i) {
      for (int64_t j = 0; j < images.columns; ++j) EXPECT_NEAR(images.at(i, j), 0, 1e-13);
    }
  }
}

TEST(TallFactor, TakesTheSmallest) {
  const TallFactor::Triples one = TallFactor(random_matrix(1, 1, 6)).smallest(1);
  EXPECT_EQ(one.values.size(), 1U);
  EXPECT_EQ(TallFactor(random_matrix(3, 2, 7)).smallest(0).values.size(), 0U);
  EXPECT_EQ(TallFactor(random_matrix(3, 2, 7)).through_inverse(Dense(0, 2)).rows, 0);
}

}  // namespace
}  // namespace slim
