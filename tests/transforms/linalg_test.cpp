// The decompositions against their definitions, on oblong matrices where that makes a difference.
// Tolerances: 1e-12 is some thousand roundings of numbers near 1.
#include "transforms/linalg.h"

#include "transforms/matrices.h"

namespace slim {
namespace {

void expect_equal(const Dense& found, const Dense& expected, double tolerance = 1e-12) {
  ASSERT_EQ(found.rows, expected.rows);
  ASSERT_EQ(found.columns, expected.columns);
  for (size_t i = 0; i < found.values.size(); ++i) {
    ASSERT_NEAR(found.values[i], expected.values[i], tolerance) << i;
  }
}

Dense identity(int64_t size) {
  Dense matrix(size, size);
  for (int64_t i = 0; i < size; ++i) matrix.at(i, i) = 1;
  return matrix;
}

TEST(Linalg, MultipliesWholeMatricesAndBlocks) {
  const Dense a = random_matrix(5, 7, 1);
  const Dense b = random_matrix(7, 3, 2);
  const Dense expected = naive_product(a, b);
  expect_equal(product(a, b), expected);
  expect_equal(product(transpose(a), b, Transposed::first), expected);
  expect_equal(product(a, transpose(b), Transposed::second), expected);
  const DenseBlock part(a, 1, 3, 2, 4);
  expect_equal(product(part, DenseBlock(b, 2, 4, 1, 2)),
               naive_product(copy(part), copy(DenseBlock(b, 2, 4, 1, 2))));
  EXPECT_EQ(product(Dense(2, 0), Dense(0, 3)).values, std::vector<double>(6, 0.0));
  EXPECT_EQ(stack(a, DenseBlock(a, 0, 2, 0, 7)).rows, 7);
}

TEST(Linalg, DecomposesIntoSingularValues) {
  for (const auto& [rows, columns] : {std::pair{6, 6}, {9, 4}, {4, 9}}) {
    const Dense a = random_matrix(rows, columns, 3);
    const Svd parts = svd(a);
    Dense scaled = parts.v;
    for (int64_t i = 0; i < scaled.rows; ++i) {
      for (int64_t j = 0; j < scaled.columns; ++j) {
        scaled.at(i, j) *= parts.values[static_cast<size_t>(i)];
      }
    }
    expect_equal(naive_product(parts.u, scaled), a);
    expect_equal(naive_product(transpose(parts.u), parts.u), identity(4 + (rows == columns) * 2));
    expect_equal(naive_product(parts.v, transpose(parts.v)), identity(4 + (rows == columns) * 2));
    EXPECT_TRUE(std::is_sorted(parts.values.rbegin(), parts.values.rend()));
  }
}

// The half that is computed, and the half that is copied, past the squares it is copied in.
TEST(Linalg, MultipliesByItsOwnTranspose) {
  const Dense a = random_matrix(70, 9, 8);
  expect_equal(gram(a), naive_product(a, transpose(a)));
  EXPECT_EQ(gram(Dense(2, 0)).values, std::vector<double>(4, 0.0));
  Dense from = random_matrix(70, 70, 9);
  Dense expected = from;
  const Dense taken = naive_product(a, transpose(a));
  for (size_t i = 0; i < taken.values.size(); ++i) expected.values[i] -= taken.values[i];
  subtract_product(from, a, transpose(a));
  expect_equal(from, expected);
}

TEST(Linalg, MultipliesInSinglePrecision) {
  const Dense a = random_matrix(5, 7, 1);
  const Dense b = random_matrix(7, 3, 2);
  const Dense found = widen(product(narrow(a), narrow(b)));
  const Dense expected = naive_product(a, b);
  for (size_t i = 0; i < expected.values.size(); ++i) {
    EXPECT_NEAR(found.values[i], expected.values[i], 1e-5);
  }
}

// Wider than the Krylov space of 48 vectors. Values that stand close to the largest are the worst
// case: 200 within 2 % of each other, and those of a random matrix, whose edge is at 2 sqrt(200).
TEST(Linalg, FindsTheLargestSingularValue) {
  std::vector<double> close = geometric(200, 1.02);
  EXPECT_NEAR(largest_value(narrow(with_singular_values(210, close, 4))), 1, 0.005);
  close.front() = 3;
  EXPECT_NEAR(largest_value(narrow(with_singular_values(200, close, 5))), 3, 1e-5);
  const Dense random = random_matrix(200, 200, 6);
  const double expected = svd(random).values.front();
  EXPECT_NEAR(largest_value(narrow(random)), expected, 0.005 * expected);
  for (const auto& [rows, columns] : {std::pair{3, 5}, {5, 2}, {1, 1}, {30, 41}}) {
    const Dense small = random_matrix(rows, columns, 7);
    const double largest = svd(small).values.front();
    EXPECT_NEAR(largest_value(narrow(small)), largest, 1e-5 * largest);
  }
  EXPECT_EQ(largest_value(DenseF32(4, 3)), 0);
}

// Wider than the subspace that is iterated on. Values that fall by a tenth from one to the next
// leave vectors exact to 1e-5 when their squares' sum is to 1e-6, which is what single precision
// tells apart.
TEST(Linalg, FindsTheLargestSingularValues) {
  for (const auto& [rows, columns] : {std::pair{60, 60}, {80, 50}, {50, 80}, {3, 5}, {5, 2}}) {
    const int64_t rank = std::min(rows, columns);
    const int64_t count = std::min<int64_t>(3, rank);
    const std::vector<double> expected = geometric(rank, std::pow(1.1, rank));
    const Dense a = rows < columns ? transpose(with_singular_values(columns, expected, 4))
                                   : with_singular_values(rows, expected, 4);
    const LargestSingular found = largest_singular(narrow(a), count, 1e-7);
    ASSERT_EQ(std::ssize(found.values), count);
    for (size_t i = 0; i < found.values.size(); ++i) {
      EXPECT_NEAR(found.values[i], expected[i], 2e-6) << rows << " " << columns;
    }
    expect_equal(naive_product(found.right, transpose(found.right)), identity(count));
    const Dense turned = naive_product(naive_product(found.right, transpose(a)), a);
    for (int64_t i = 0; i < count; ++i) {
      for (int64_t j = 0; j < columns; ++j) {
        const double square = std::pow(found.values[static_cast<size_t>(i)], 2);
        EXPECT_NEAR(turned.at(i, j), square * found.right.at(i, j), 1e-5);
      }
    }
  }
  // Squares that no float holds: 1e-25 of the above.
  DenseF32 small = narrow(with_singular_values(60, geometric(60, 300), 4));
  for (float& value : small.values) value *= 1e-25F;
  EXPECT_NEAR(largest_singular(small, 3, 1e-7).values.front(), 1e-25, 1e-30);
  EXPECT_EQ(largest_singular(DenseF32(4, 4), 2, 1e-6).values, std::vector<double>(2, 0.0));
}

TEST(Linalg, FactorsAndSolves) {
  const Dense a = random_matrix(6, 6, 5);
  Dense symmetric = naive_product(a, transpose(a));
  const Dense lower = cholesky(symmetric);
  expect_equal(naive_product(lower, transpose(lower)), symmetric);
  EXPECT_EQ(lower.at(0, 5), 0);
  const Dense right = random_matrix(6, 2, 6);
  expect_equal(naive_product(a, solve(a, right)), right);

  symmetric.at(2, 2) = -1;
  EXPECT_EQ(error_of([&] { cholesky(symmetric); }).code(), ErrorCode::unsupported_model);
  EXPECT_EQ(error_of([&] { solve(Dense(3, 3), Dense(3, 1)); }).code(),
            ErrorCode::unsupported_model);
}

TEST(Linalg, RefusesWeightsThatAreNotFinite) {
  Dense bad = random_matrix(2, 2, 7);
  bad.at(1, 0) = std::nan("");
  const Error error = error_of([&] { to_dense(stored(bad), "key"); });
  EXPECT_EQ(error.code(), ErrorCode::bad_file);
  EXPECT_NE(error.text().find("key weight"), std::string::npos);
}

}  // namespace
}  // namespace slim
