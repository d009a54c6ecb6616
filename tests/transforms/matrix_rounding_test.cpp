// Shaped rounding of a matrix: what it promises (within range, near the values), and that it does
// better than plain rounding where it matters.
#include "transforms/matrix_rounding.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "transforms/matrices.h"
#include "transforms/moments.h"

namespace slim {
namespace {

// sum over rows of e^T C e.
double damage(const Dense& matrix, const RoundedMatrix& rounded, const Dense& moments) {
  Dense error(matrix.rows, matrix.columns);
  for (int64_t i = 0; i < matrix.rows; ++i) {
    for (int64_t j = 0; j < matrix.columns; ++j) {
      const int16_t number = rounded.integers.values<int16_t>()[i * matrix.columns + j];
      error.at(i, j) = number * double{rounded.scale.values<float>()[i]} - matrix.at(i, j);
    }
  }
  const Dense through = naive_product(error, moments);
  double sum = 0;
  for (size_t i = 0; i < error.values.size(); ++i) sum += error.values[i] * through.values[i];
  return sum;
}

TEST(MatrixRounding, PlainIsNearestWithinTheRange) {
  Dense matrix = random_matrix(5, 33, 1);
  std::fill_n(matrix.row(3), 33, 0.0);
  const RoundedMatrix rounded = round_rows(matrix, {});
  for (int64_t i = 0; i < matrix.rows; ++i) {
    const double scale = rounded.scale.values<float>()[i];
    int largest = 0;
    for (int64_t j = 0; j < matrix.columns; ++j) {
      const int number = rounded.integers.values<int16_t>()[i * matrix.columns + j];
      EXPECT_LE(std::fabs(number * scale - matrix.at(i, j)), scale / 2);
      largest = std::max(largest, std::abs(number));
    }
    EXPECT_EQ(largest, i == 3 ? 0 : 32767);
  }
}

// C of inputs with a condition number of 1e3 (so 1e6 in C). In the limit of fine steps nearest
// plane leaves the mean of L_jj^2 instead of that of C_jj: 0.107 of it here. 150 columns are more
// than two of the blocks that are rounded at a time.
TEST(MatrixRounding, ShapedDoesLessDamage) {
  constexpr int64_t kColumns = 150;
  const Dense weight = with_singular_values(kColumns, geometric(kColumns, 1e3), 2);
  const Dense moments = output_moments(weight, nullptr);
  const Dense matrix = random_matrix(20, kColumns, 4);
  const double plain = damage(matrix, round_rows(matrix, {}), moments);
  const double shaped = damage(matrix, round_rows(matrix, moments), moments);
  EXPECT_LT(shaped, 0.15 * plain);
  EXPECT_GT(shaped, 0);
}

// The recurrence by its definition, all in double precision: the damage it does is what errors
// passed on in single must not exceed by more than a few roundings that fall the other way.
TEST(MatrixRounding, DoesAsDoublePrecisionDoes) {
  constexpr int64_t kColumns = 130;
  for (const double condition : {1e2, 1e4, 1e6}) {
    const Dense weight = with_singular_values(kColumns, geometric(kColumns, condition), 12);
    Dense moments = output_moments(weight, nullptr);
    double trace = 0;
    for (int64_t j = 0; j < kColumns; ++j) trace += moments.at(j, j);
    Dense damped = moments;
    for (int64_t j = 0; j < kColumns; ++j) damped.at(j, j) += 1e-10 * trace / kColumns;
    const Dense matrix = random_matrix(40, kColumns, 13);
    const RoundedMatrix found = round_rows(matrix, moments);

    std::vector<int64_t> order(kColumns);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](int64_t a, int64_t b) { return moments.at(a, a) < moments.at(b, b); });
    Dense ordered(kColumns, kColumns);
    for (int64_t i = 0; i < kColumns; ++i) {
      for (int64_t j = 0; j < kColumns; ++j) {
        ordered.at(i, j) = damped.at(order[static_cast<size_t>(i)], order[static_cast<size_t>(j)]);
      }
    }
    const Dense lower = cholesky(ordered);
    RoundedMatrix expected{Tensor::allocate(host_device(), DType::i16, {40, kColumns}),
                           found.scale};
    for (int64_t i = 0; i < matrix.rows; ++i) {
      const double scale = found.scale.values<float>()[i];
      std::vector<double> errors(kColumns);
      for (int64_t j = kColumns - 1; j >= 0; --j) {
        double offset = 0;
        for (int64_t k = j + 1; k < kColumns; ++k) {
          offset += errors[static_cast<size_t>(k)] * lower.at(k, j) / lower.at(j, j);
        }
        const int64_t column = order[static_cast<size_t>(j)];
        const double number =
            std::clamp(std::nearbyint((matrix.at(i, column) - offset) / scale), -32767.0, 32767.0);
        expected.integers.writable<int16_t>()[i * kColumns + column] = static_cast<int16_t>(number);
        errors[static_cast<size_t>(j)] = number * scale - matrix.at(i, column);
      }
    }
    EXPECT_LE(damage(matrix, found, moments), 1.01 * damage(matrix, expected, moments))
        << condition;
  }
}

// As it is for keys wider than their input (here 0.19 of the damage is left: 40 of 70 columns only
// repair what the others did), and for keys that are zero.
TEST(MatrixRounding, TakesSingularMoments) {
  const Dense matrix = random_matrix(8, 70, 5);
  const Dense narrow = random_matrix(70, 30, 6);
  const Dense moments = output_moments(narrow, nullptr);
  EXPECT_LT(damage(matrix, round_rows(matrix, moments), moments),
            0.3 * damage(matrix, round_rows(matrix, {}), moments));
  const RoundedMatrix plain = round_rows(matrix, {});
  const RoundedMatrix zero = round_rows(matrix, Dense(70, 70));
  EXPECT_EQ(std::memcmp(plain.integers.data(), zero.integers.data(),
                        static_cast<size_t>(plain.integers.bytes())),
            0);
}

TEST(Moments, AreThoseOfTheOutputs) {
  const Dense weight = random_matrix(4, 3, 7);
  const Dense inputs = random_matrix(3, 3, 8);
  const Dense moments = naive_product(inputs, transpose(inputs));
  const Dense expected = naive_product(naive_product(weight, moments), transpose(weight));
  const Tensor kept = stored(moments);
  const std::vector<double> powers = output_powers(weight, &kept);
  for (int64_t i = 0; i < 4; ++i) {
    // The moments are stored in f32.
    EXPECT_NEAR(powers[static_cast<size_t>(i)], expected.at(i, i), 1e-5);
    for (int64_t j = 0; j < 4; ++j) {
      EXPECT_NEAR(output_moments(weight, &kept).at(i, j), expected.at(i, j), 1e-5);
    }
  }
  const Tensor gains = Tensor::from(std::vector<float>{4, 1, 0.25F}, {3});
  EXPECT_NEAR(output_powers(weight, &gains)[0],
              4 * weight.at(0, 0) * weight.at(0, 0) + weight.at(0, 1) * weight.at(0, 1) +
                  0.25 * weight.at(0, 2) * weight.at(0, 2),
              1e-12);
}

}  // namespace
}  // namespace slim
