// Products and attention whose inputs are rounded to halves (Inputs::f16), where kernels take them:
// close to the reference's f32 by the bound of Inputs, and rounded indeed.
#include "fmt/format.h"
#include "kernels/parity.h"

namespace slim {
namespace {

constexpr double kHalfUnit = 1.0 / 4096;
constexpr int64_t kManyRows = 520;  // more than any kernel for few rows takes

class HalfInputs : public ParityTest {
 protected:
  void SetUp() override {
    ParityTest::SetUp();
    if (!IsSkipped() && !kernels_->takes(Inputs::f16)) GTEST_SKIP() << "its inputs are f32";
  }

  static TestMatrix multiply(Kernels& kernels, const TestMatrix& x, ConstMatrix weight,
                             const float* scale, Inputs inputs) {
    TestMatrix y = TestMatrix::random(4, DType::f32, x.rows(), weight.rows);
    kernels.linear(
        {.x = x.view(), .weight = weight, .scale = scale, .y = y.view(), .inputs = inputs});
    return y;
  }

  // `magnitudes`: of the weight. f32's own share of the bound, as in linear_test.cpp, is a tenth.
  void expect_within_bound(ConstMatrix weight, const float* scale, const TestMatrix& magnitudes) {
    const TestMatrix x = TestMatrix::random(1, DType::f32, kManyRows, weight.columns);
    const TestMatrix sums =
        multiply(*reference_, x.magnitudes(), magnitudes.view(), nullptr, Inputs::f32);
    const TestMatrix bounds = sums.map(
        [](float sum) { return static_cast<float>(1.1 * kHalfUnit * static_cast<double>(sum)); });
    EXPECT_TRUE(agrees(multiply(*kernels_, x, weight, scale, Inputs::f16),
                       multiply(*reference_, x, weight, scale, Inputs::f32), bounds))
        << name_of(weight.type) << ", K " << weight.columns;
  }
};

TEST_P(HalfInputs, ProductsAreWithinTheBound) {
  for (const int64_t inputs : {64, 96, 320}) {
    for (const DType type : {DType::f16, DType::bf16, DType::f32}) {
      const TestMatrix weight = TestMatrix::random(2, type, 40, inputs);
      expect_within_bound(weight.view(), nullptr, weight.magnitudes());
    }
    for (const DType type : {DType::i8, DType::i16, DType::q8_0}) {
      const TestWeight weight(2, type, 40, inputs);
      expect_within_bound(weight.view(), weight.scale(), weight.magnitudes());
    }
  }
}

// 1 + 2^-13 is 1 in eleven bits, and the product is that of ones.
TEST_P(HalfInputs, ProductsAreOfRoundedNumbers) {
  TestMatrix x = TestMatrix::random(1, DType::f32, kManyRows, 64);
  TestMatrix ones = x;
  for (int64_t row = 0; row < x.rows(); ++row) {
    for (int64_t column = 0; column < 64; ++column) {
      x.set(row, column, 1.0F + 1.0F / 8192);
      ones.set(row, column, 1.0F);
    }
  }
  const TestMatrix weight = TestMatrix::random(2, DType::f16, 33, 64);
  const TestMatrix rounded = multiply(*kernels_, x, weight.view(), nullptr, Inputs::f16);
  const TestMatrix exact = multiply(*kernels_, ones, weight.view(), nullptr, Inputs::f32);
  for (int64_t row = 0; row < x.rows(); ++row) {
    for (int64_t n = 0; n < 33; ++n) {
      ASSERT_NEAR(rounded.at(row, n), exact.at(row, n), 1e-4F) << row << ", " << n;
    }
  }
}

// Scores are of 64 products of numbers below 1, weights off by the scores' and their own rounding.
TEST_P(HalfInputs, EncodersAttendWithinTheBoundToRoundedRows) {
  constexpr int64_t kRows = 200;
  constexpr int64_t kHeads = 2;
  for (const int64_t width : {64, 80, 128}) {
    const auto matrix = [&](uint32_t seed) {
      return TestMatrix::random(seed, DType::f32, kRows, kHeads * width);
    };
    const TestMatrix q = matrix(1);
    const TestMatrix k = matrix(2);
    const TestMatrix v = matrix(3);
    const auto attend = [&](Kernels& kernels, Inputs inputs) {
      TestMatrix out = matrix(4);
      kernels.attend_dense({.q = q.view(),
                            .k = k.view(),
                            .v = v.view(),
                            .out = out.view(),
                            .heads = kHeads,
                            .scale = 0.125F,
                            .inputs = inputs});
      return out;
    };
    const TestMatrix rounded = attend(*kernels_, Inputs::f16);
    const TestMatrix exact = attend(*reference_, Inputs::f32);
    double largest = 0.0;
    for (int64_t row = 0; row < kRows; ++row) {
      for (int64_t c = 0; c < kHeads * width; ++c) {
        largest = std::max(largest, std::fabs(static_cast<double>(rounded.at(row, c)) -
                                              static_cast<double>(exact.at(row, c))));
      }
    }
    EXPECT_LT(largest, 16 * kHalfUnit) << width;
    EXPECT_GT(largest, 1e-6) << width << ": as exact as f32";
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, HalfInputs, testing::ValuesIn(candidates()), candidate_name);

}  // namespace
}  // namespace slim
