// The value map against the identity that defines it, condition numbers against matrices built
// with known singular values, and hostile weights.
#include "transforms/value_map.h"

#include <limits>

#include "transforms/matrices.h"

namespace slim {
namespace {

double largest(const Dense& matrix) {
  double result = 0;
  for (const double value : matrix.values) result = std::max(result, std::fabs(value));
  return result;
}

// Largest error of [K, z] N^T against V over random inputs, relative to the largest value.
double identity_error(const Dense& keys, const Dense& values, const Dense& spill,
                      const Dense& row_map) {
  const Dense x = random_matrix(24, keys.columns, 99);
  const Dense rows = spill.rows > 0 ? stack(keys, spill) : keys;
  Dense error = naive_product(naive_product(x, transpose(rows)), transpose(row_map));
  const Dense expected = naive_product(x, transpose(values));
  for (size_t i = 0; i < error.values.size(); ++i) error.values[i] -= expected.values[i];
  return largest(error) / largest(expected);
}

double identity_error(const Dense& keys, const Dense& values, const ExactValueMap& map) {
  if (map.spill.rows == 0) return identity_error(keys, values, map.spill, map.map);
  const Dense whole = transpose(stack(transpose(map.map), transpose(map.spill_map)));
  return identity_error(keys, values, map.spill, whole);
}

double identity_error(const Dense& keys, const Dense& values, const ValueMap& map) {
  const Dense spill = map.spill.empty() ? Dense() : to_dense(map.spill, "spill");
  return identity_error(keys, values, spill, widen(row_map(map)));
}

// As to_tensor() would store it, so that tests start from what f32 holds.
Dense through_f32(const Dense& matrix) { return to_dense(stored(matrix), "test"); }

// Singular values fall to 1/30; 1e-12 leaves 30 * 2^-53 times some hundred terms a wide margin.
TEST(ValueMap, IsExactForEverySpillAndShape) {
  constexpr int64_t kWidth = 40;
  for (const int64_t keys_width : {40, 56}) {      // e = D, and Gemma's e > D
    for (const int64_t values_width : {40, 24}) {  // E need not be e
      const Dense keys = with_singular_values(keys_width, geometric(kWidth, 30), 1);
      const Dense values = random_matrix(values_width, kWidth, 2);
      for (const int64_t spill : {0, 8, 32, 40}) {
        const ExactValueMap map = exact_value_map(keys, values, spill);
        EXPECT_EQ(map.spill.rows, spill);
        EXPECT_LE(identity_error(keys, values, map), 1e-12) << keys_width << " " << spill;
      }
    }
  }
}

// Directions are looked for by an iteration that tells close singular values apart only slowly, as
// those of random matrices are: maps for less spill than was looked for must hold all the same.
TEST(ValueMap, IsExactForLessSpillThanWasLookedFor) {
  constexpr int64_t kWidth = 120;
  const Dense values = random_matrix(kWidth, kWidth, 22);
  std::vector<double> trained = geometric(kWidth, 300);
  std::fill(trained.end() - 5, trained.end(), 1e-7);
  for (const Dense& keys :
       {random_matrix(kWidth, kWidth, 21), random_matrix(kWidth + 16, kWidth, 23),
        with_singular_values(kWidth, trained, 24)}) {
    const ValueMaps maps(keys, values, 32);
    for (const int64_t spill : {8, 16, 32}) {
      EXPECT_LE(identity_error(keys, values, maps.at(spill)), 1e-11) << keys.rows << " " << spill;
    }
  }
}

// Against M_r = V_k S_k^-1 U_k^T (W_V - P B) with the SVD of W_K, of condition numbers up to those
// of trained models: errors in M are those of W_K, 2^-53 sqrt(size) of its largest value, over the
// smallest that is kept, twice (in S_k^-1 and in what turns into each other).
TEST(ValueMap, AgreesWithAnSvd) {
  constexpr int64_t kWidth = 96;
  constexpr int64_t kSpill = 8;
  const Dense values = random_matrix(kWidth, kWidth, 32);
  for (const double condition : {1e2, 1e4, 1e6}) {
    const Dense keys = with_singular_values(kWidth, geometric(kWidth, condition), 31);
    const ExactValueMap found = ValueMaps(keys, values, 32).at(kSpill);
    const Svd parts = svd(keys);
    Dense owed = values;  // W_V^T - B^T P^T
    subtract_product(owed, found.spill_map, found.spill);
    Dense along = naive_product(owed, transpose(parts.v));
    for (int64_t i = 0; i < along.rows; ++i) {
      for (int64_t j = 0; j < kWidth; ++j) {
        along.at(i, j) *= j < kWidth - kSpill ? 1 / parts.values[static_cast<size_t>(j)] : 0;
      }
    }
    const Dense expected = naive_product(along, transpose(parts.u));
    const double kept = parts.values[kWidth - kSpill - 1];
    double difference = 0;
    for (size_t i = 0; i < expected.values.size(); ++i) {
      difference = std::max(difference, std::fabs(expected.values[i] - found.map.values[i]));
    }
    EXPECT_LE(difference, 100 * 0x1p-53 * std::sqrt(kWidth) / (kept * kept)) << condition;
  }
}

// Three singular values are 1e-6 of the largest, or zero. With spill they are never divided by, so
// the identity holds as on well-conditioned keys; and M stays as small as the others allow.
TEST(ValueMap, SpillTakesWhatIsIllConditioned) {
  constexpr int64_t kWidth = 48;
  const Dense values = random_matrix(kWidth, kWidth, 4);
  for (const double small : {1e-6, 0.0}) {
    std::vector<double> singular = geometric(kWidth, 10);
    std::fill(singular.end() - 3, singular.end(), small);
    const Dense keys = with_singular_values(kWidth, singular, 3);
    for (const int64_t spill : {8, 32}) {
      const ExactValueMap map = exact_value_map(keys, values, spill);
      EXPECT_LE(identity_error(keys, values, map), 1e-12) << small << " " << spill;
      EXPECT_LE(largest(map.map), 10 * largest(values) * std::sqrt(kWidth));
      EXPECT_NEAR(TallFactor(keys).smallest(3).values.back(), small, 1e-12);
    }
    if (small > 0) {
      EXPECT_GT(largest(exact_value_map(keys, values, 0).map), 1e4);
    }
  }
}

// B is stored in f32 and M in f32 or 15 bits and sign: 2^-24 and 2^-16 of numbers near 1, over
// 48 terms.
TEST(ValueMap, HoldsAsStored) {
  constexpr int64_t kWidth = 48;
  std::vector<double> singular = geometric(kWidth, 10);
  singular.back() = 1e-7;
  const Dense keys = through_f32(with_singular_values(kWidth, singular, 5));
  const Dense values = through_f32(random_matrix(kWidth, kWidth, 6));
  ValueMapOptions options{.spill = 8};
  const ValueMap wide = value_map(stored(keys), stored(values), options);
  EXPECT_EQ(wide.map.type(), DType::f32);
  EXPECT_TRUE(wide.scale.empty());
  EXPECT_EQ(wide.spill.shape(), (std::vector<int64_t>{8, kWidth}));
  EXPECT_EQ(wide.spill_map.shape(), (std::vector<int64_t>{kWidth, 8}));
  EXPECT_LE(identity_error(keys, values, wide), 1e-6);

  options.rounded = true;
  const ValueMap narrow = value_map(stored(keys), stored(values), options);
  EXPECT_EQ(narrow.map.type(), DType::i16);
  EXPECT_EQ(narrow.scale.shape(), (std::vector<int64_t>{kWidth}));
  EXPECT_EQ(narrow.bytes(), kWidth * (2 * kWidth + 4 + 8 * 4) + 8 * kWidth * 2);
  EXPECT_LE(identity_error(keys, values, narrow), 1e-4);
}

// M is rounded to f32 once, so V = K M holds to 2^-24 of the sum of the magnitudes of its terms;
// twice that leaves room for the solver's own error.
TEST(ValueMap, HoldsToF32OnIllConditionedKeysWithoutSpill) {
  constexpr int64_t kWidth = 40;
  for (const double condition : {1e3, 1e6, 1e8}) {
    const Dense keys = through_f32(with_singular_values(kWidth, geometric(kWidth, condition), 7));
    const Dense values = through_f32(random_matrix(kWidth, kWidth, 8));
    Dense map = transpose(to_dense(value_map(stored(keys), stored(values)), "map"));
    const Dense x = random_matrix(10, kWidth, 9);
    Dense rows = naive_product(x, transpose(keys));
    const Dense expected = naive_product(x, transpose(values));
    const Dense mapped = naive_product(rows, map);
    for (double& value : rows.values) value = std::fabs(value);
    for (double& value : map.values) value = std::fabs(value);
    const Dense terms = naive_product(rows, map);
    for (size_t i = 0; i < mapped.values.size(); ++i) {
      EXPECT_LE(std::fabs(mapped.values[i] - expected.values[i]), 2 * 0x1p-24 * terms.values[i])
          << condition;
    }
  }
}

TEST(ValueMap, RefusesWhatHasNoInverse) {
  const auto square = [](std::vector<double> values) {
    Dense matrix(2, 2);
    matrix.values = std::move(values);
    return stored(matrix);
  };
  const Tensor values = square({1, 0, 0, 1});
  for (const Tensor& keys :
       {square({1, 2, 2, 4}), square({1, 0, 0, 1e-20}), square({0, 0, 0, 0})}) {
    EXPECT_EQ(error_of([&] { value_map(keys, values); }).code(), ErrorCode::unsupported_model);
  }
  EXPECT_NO_THROW(value_map(square({1, 1, 1, 1 + 0x1p-23}), values));  // condition number 2^25

  std::vector<double> singular(16, 1.0);
  std::fill(singular.end() - 3, singular.end(), 0.0);
  const Dense keys = with_singular_values(16, singular, 10);
  const Dense identity = orthonormal(16, 16, 11);
  const Error error = error_of([&] { exact_value_map(keys, identity, 2); });
  EXPECT_EQ(error.code(), ErrorCode::unsupported_model);
  EXPECT_NE(error.text().find("rank is 13 of 16"), std::string::npos) << error.text();
  EXPECT_NO_THROW(exact_value_map(keys, identity, 3));
  EXPECT_EQ(error_of([&] { exact_value_map(keys, identity, 17); }).code(), ErrorCode::bad_request);
}

TEST(ValueMap, RefusesKeysNarrowerThanTheInput) {
  const Tensor wide = stored(random_matrix(2, 3, 12));
  const Error error = error_of([&] { value_map(wide, wide); });
  EXPECT_EQ(error.code(), ErrorCode::unsupported_model);
  EXPECT_NE(error.text().find("2 outputs and 3 inputs"), std::string::npos);
}

TEST(ValueMap, RefusesWeightsThatAreNotFinite) {
  const Tensor good = stored(orthonormal(2, 2, 13));
  for (const double bad :
       {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    Dense broken = orthonormal(2, 2, 13);
    broken.at(1, 0) = bad;
    const Tensor weight = stored(broken);
    EXPECT_EQ(error_of([&] { condition_number(weight); }).code(), ErrorCode::bad_file);
    EXPECT_EQ(error_of([&] { value_map(weight, good); }).code(), ErrorCode::bad_file);
    EXPECT_EQ(error_of([&] { value_map(good, weight); }).code(), ErrorCode::bad_file);
  }
}

// Rounding the matrix to f32 moves its smallest singular value by about 2^-24 * sqrt(size), so the
// condition number by that times itself: 1e4 * 4e-7 is 0.4 %.
TEST(ConditionNumber, IsLargestOverSmallestSingularValue) {
  for (const double condition : {1.0, 10.0, 1e4}) {
    const Tensor weight = stored(with_singular_values(40, geometric(40, condition), 14));
    EXPECT_NEAR(condition_number(weight), condition, 0.01 * condition);
  }
  Dense wide(2, 3);
  wide.at(0, 0) = 3;
  wide.at(1, 1) = 0.5;
  EXPECT_NEAR(condition_number(stored(wide)), 6, 1e-5);  // the largest in single precision
  EXPECT_NEAR(condition_number(stored(transpose(wide))), 6, 1e-5);
  wide.at(1, 1) = 0;
  EXPECT_TRUE(std::isinf(condition_number(stored(wide))));
}

TEST(AbsorbKey, TransposesEachHeadInItsOwnType) {
  constexpr int64_t kHeads = 3, kHeadWidth = 2, kWidth = 5;
  std::vector<BFloat16> elements;
  for (int i = 0; i < kHeads * kHeadWidth * kWidth; ++i) {
    elements.push_back(to_bfloat16(static_cast<float>(i)));
  }
  const auto owner = std::make_shared<std::vector<BFloat16>>(elements);
  const Tensor weight = Tensor::borrow(owner, std::as_bytes(std::span(*owner)), DType::bf16,
                                       {kHeads * kHeadWidth, kWidth});
  const Tensor absorbed = absorb_key(weight, kHeads);
  EXPECT_EQ(absorbed.type(), DType::bf16);
  EXPECT_EQ(absorbed.shape(), (std::vector<int64_t>{kHeads * kWidth, kHeadWidth}));
  for (int64_t head = 0; head < kHeads; ++head) {
    for (int64_t column = 0; column < kWidth; ++column) {
      for (int64_t c = 0; c < kHeadWidth; ++c) {
        EXPECT_EQ(to_float(absorbed.values<BFloat16>()[(head * kWidth + column) * kHeadWidth + c]),
                  static_cast<float>((head * kHeadWidth + c) * kWidth + column));
      }
    }
  }
}

}  // namespace
}  // namespace slim
