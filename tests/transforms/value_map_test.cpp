// The value map against the identity that defines it, condition numbers against matrices built
// with known singular values, and hostile weights.
#include "transforms/value_map.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "slim/error.h"

namespace slim {
namespace {

using Square = std::vector<double>;  // by rows

Square random_square(int64_t size, uint32_t seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<double> normal;
  Square matrix(static_cast<size_t>(size * size));
  for (double& value : matrix) value = normal(generator);
  return matrix;
}

// a * b, or a^T * b.
Square product(const Square& a, const Square& b, int64_t size, bool transposed = false) {
  Square result(a.size());
  for (int64_t i = 0; i < size; ++i) {
    for (int64_t k = 0; k < size; ++k) {
      const double factor = a[static_cast<size_t>(transposed ? k * size + i : i * size + k)];
      for (int64_t j = 0; j < size; ++j) {
        result[static_cast<size_t>(i * size + j)] += factor * b[static_cast<size_t>(k * size + j)];
      }
    }
  }
  return result;
}

// Orthogonal by Gram-Schmidt, twice, on the rows of a random matrix.
Square orthogonal(int64_t size, uint32_t seed) {
  Square q = random_square(size, seed);
  const auto row = [&](int64_t i) { return q.data() + i * size; };
  for (int64_t i = 0; i < size; ++i) {
    for (int64_t other = 0; other < 2 * i; ++other) {
      const double* base = row(other % i);
      double dot = 0;
      for (int64_t c = 0; c < size; ++c) dot += row(i)[c] * base[c];
      for (int64_t c = 0; c < size; ++c) row(i)[c] -= dot * base[c];
    }
    double norm = 0;
    for (int64_t c = 0; c < size; ++c) norm += row(i)[c] * row(i)[c];
    for (int64_t c = 0; c < size; ++c) row(i)[c] /= std::sqrt(norm);
  }
  return q;
}

// U diag(1 .. 1/condition, geometric) V^T.
Square conditioned(int64_t size, double condition, uint32_t seed) {
  Square scaled = orthogonal(size, seed);
  for (int64_t i = 0; i < size * size; ++i) {
    const double exponent = static_cast<double>(i / size) / static_cast<double>(size - 1);
    scaled[static_cast<size_t>(i)] *= std::pow(condition, -exponent);
  }
  return product(orthogonal(size, seed + 1), scaled, size, true);
}

Tensor to_tensor(const Square& matrix, int64_t rows, int64_t columns) {
  const std::vector<float> values(matrix.begin(), matrix.end());
  return Tensor::from(values, {rows, columns});
}

Square to_square(const Tensor& tensor) {
  const Tensor values = tensor.to_f32();
  return {values.values<float>(), values.values<float>() + values.elements()};
}

Square transpose(const Square& matrix, int64_t size) {
  Square result(matrix.size());
  for (int64_t i = 0; i < size * size; ++i) {
    result[static_cast<size_t>(i % size * size + i / size)] = matrix[static_cast<size_t>(i)];
  }
  return result;
}

template <typename Function>
Error error_of(Function&& function) {
  try {
    function();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "nothing was thrown";
  return {ErrorCode::internal, ""};
}

// M of sixteenths is exact in f32, so a double-precision solution must round to it (1e-12 is for
// its zeros), and V = K M then holds to double precision: 1e-10 leaves 48 * 2^-53 a wide margin.
TEST(ValueMap, GivesValuesFromKeysInDoublePrecision) {
  constexpr int64_t kSize = 48;
  Square key_weight = random_square(kSize, 1);
  Square map = random_square(kSize, 2);
  for (double& value : key_weight) value = std::round(value * 16) / 16;
  for (int64_t i = 0; i < kSize; ++i) key_weight[static_cast<size_t>(i * kSize + i)] += 16;
  for (double& value : map) value = std::round(value * 16) / 16;
  const Square value_weight = product(key_weight, map, kSize);  // exact in f32: 1/256 steps

  const Tensor stored_k = to_tensor(transpose(key_weight, kSize), kSize, kSize);
  const Tensor stored_v = to_tensor(transpose(value_weight, kSize), kSize, kSize);
  const Square found = transpose(to_square(value_map(stored_k, stored_v)), kSize);
  for (size_t i = 0; i < map.size(); ++i) EXPECT_NEAR(found[i], map[i], 1e-12);

  const Square x = random_square(kSize, 3);
  const Square mapped = product(product(x, key_weight, kSize), found, kSize);
  const Square values = product(x, value_weight, kSize);
  for (size_t i = 0; i < values.size(); ++i) EXPECT_NEAR(mapped[i], values[i], 1e-10);
}

// M is rounded to f32 once, so V = K M holds to 2^-24 of the sum of the magnitudes of its terms;
// twice that leaves room for the solver's own error.
TEST(ValueMap, HoldsToF32OnIllConditionedKeys) {
  constexpr int64_t kSize = 40;
  for (const double condition : {1e3, 1e6, 1e8}) {
    const Tensor stored_k = to_tensor(conditioned(kSize, condition, 4), kSize, kSize);
    const Tensor stored_v = to_tensor(random_square(kSize, 5), kSize, kSize);
    const Square map = transpose(to_square(value_map(stored_k, stored_v)), kSize);
    const Square x = random_square(kSize, 6);
    const Square keys = product(x, transpose(to_square(stored_k), kSize), kSize);
    const Square values = product(x, transpose(to_square(stored_v), kSize), kSize);
    const Square mapped = product(keys, map, kSize);
    Square key_magnitudes = keys;
    Square map_magnitudes = map;
    for (double& value : key_magnitudes) value = std::fabs(value);
    for (double& value : map_magnitudes) value = std::fabs(value);
    const Square terms = product(key_magnitudes, map_magnitudes, kSize);
    for (size_t i = 0; i < values.size(); ++i) {
      EXPECT_LE(std::fabs(mapped[i] - values[i]), 2 * 0x1p-24 * terms[i]) << condition;
    }
  }
}

TEST(ValueMap, RefusesWhatHasNoInverse) {
  const Square identity = {1, 0, 0, 1};
  const Square singular = {1, 2, 2, 4};
  const Square nearly = {1, 0, 0, 1e-20};  // no pivot is zero, yet its inverse has no digits
  const Square poorly = {1, 1, 1, 1 + 0x1p-23};
  const Tensor values = to_tensor(identity, 2, 2);
  for (const Square& keys : {singular, nearly}) {
    EXPECT_EQ(error_of([&] { value_map(to_tensor(keys, 2, 2), values); }).code(),
              ErrorCode::unsupported_model);
  }
  EXPECT_NO_THROW(value_map(to_tensor(poorly, 2, 2), values));  // condition number 2^25
  const Tensor wide = to_tensor({1, 2, 3, 4, 5, 6}, 2, 3);
  const Error error = error_of([&] { value_map(wide, wide); });
  EXPECT_EQ(error.code(), ErrorCode::unsupported_model);
  EXPECT_NE(error.text().find("2 outputs and 3 inputs"), std::string::npos);
}

TEST(ValueMap, RefusesWeightsThatAreNotFinite) {
  const Tensor good = to_tensor({1, 0, 0, 1}, 2, 2);
  for (const double bad :
       {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    const Tensor weight = to_tensor({1, 0, bad, 1}, 2, 2);
    EXPECT_EQ(error_of([&] { condition_number(weight); }).code(), ErrorCode::bad_file);
    EXPECT_EQ(error_of([&] { value_map(weight, good); }).code(), ErrorCode::bad_file);
    EXPECT_EQ(error_of([&] { value_map(good, weight); }).code(), ErrorCode::bad_file);
  }
}

// Rounding the matrix to f32 moves its smallest singular value by about 2^-24 * sqrt(size), so the
// condition number by that times itself: 1e4 * 4e-7 is 0.4 %.
TEST(ConditionNumber, IsLargestOverSmallestSingularValue) {
  for (const double condition : {1.0, 10.0, 1e4}) {
    const Tensor weight = to_tensor(conditioned(40, condition, 7), 40, 40);
    EXPECT_NEAR(condition_number(weight), condition, 0.01 * condition);
  }
  EXPECT_DOUBLE_EQ(condition_number(to_tensor({3, 0, 0, 0, 0.5, 0}, 2, 3)), 6);  // wide
  EXPECT_DOUBLE_EQ(condition_number(to_tensor({3, 0, 0, 0.5, 0, 0}, 3, 2)), 6);  // tall
  EXPECT_TRUE(std::isinf(condition_number(to_tensor({1, 0, 0, 0}, 2, 2))));
}

TEST(AbsorbKey, TransposesEachHeadInItsOwnType) {
  constexpr int64_t kHeads = 3, kHeadWidth = 2, kWidth = 5;
  std::vector<BFloat16> stored;
  for (int i = 0; i < kHeads * kHeadWidth * kWidth; ++i) {
    stored.push_back(to_bfloat16(static_cast<float>(i)));
  }
  const auto owner = std::make_shared<std::vector<BFloat16>>(stored);
  const Tensor weight = Tensor::borrow(owner, std::as_bytes(std::span(*owner)), DType::bf16,
                                       {kHeads * kHeadWidth, kWidth});
  const Tensor absorbed = absorb_key(weight, kHeads);
  EXPECT_EQ(absorbed.type(), DType::bf16);
  EXPECT_EQ(absorbed.shape(), (std::vector<int64_t>{kHeads * kWidth, kHeadWidth}));
  const Square from = to_square(weight);
  const Square to = to_square(absorbed);
  for (int64_t h = 0; h < kHeads; ++h) {
    for (int64_t n = 0; n < kWidth; ++n) {
      for (int64_t c = 0; c < kHeadWidth; ++c) {
        EXPECT_EQ(to[static_cast<size_t>((h * kWidth + n) * kHeadWidth + c)],
                  from[static_cast<size_t>((h * kHeadWidth + c) * kWidth + n)]);
      }
    }
  }
}

}  // namespace
}  // namespace slim
