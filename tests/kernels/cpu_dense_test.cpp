// What the CPU's dense kernels promise beyond parity: activations to the precision of f32 over
// their whole range, calls from several threads that do not meet, and no allocation once warm.
#include <algorithm>
#include <cmath>
#include <numbers>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/parity.h"

namespace slim {
namespace {

class CpuDense : public ParityTest {};

// The values pass through a product with 1, so each is exact when it reaches the activation.
TestMatrix activate(Kernels& kernels, const TestMatrix& values, Activation activation) {
  const TestMatrix one = TestMatrix::of(std::vector<float>{1.0F}, 1, 1);
  TestMatrix y(DType::f32, 1, values.rows());
  kernels.linear(
      {.x = one.view(), .weight = values.view(), .y = y.view(), .activation = activation});
  return y;
}

TEST_P(CpuDense, ActivationsAreAccurateOverTheirRange) {
  std::vector<float> points;
  for (int i = -100'000; i <= 100'000; ++i) points.push_back(static_cast<float>(i) * 2e-4F);
  const TestMatrix values = TestMatrix::of(points, static_cast<int64_t>(points.size()), 1);
  const auto expect_close = [&](Activation activation, auto exact, double bound) {
    const TestMatrix y = activate(*kernels_, values, activation);
    double worst = 0.0;
    for (int64_t i = 0; i < values.rows(); ++i) {
      const double expected = exact(static_cast<double>(values.at(i, 0)));
      const double error = std::fabs(static_cast<double>(y.at(0, i)) - expected);
      worst = std::max(worst, error / std::max(1.0, std::fabs(expected)));
    }
    EXPECT_LT(worst, bound);
  };
  // Errors relative to max(1, |y|). gelu's polynomial errs by 3e-9, its roundings, multiplied by
  // the eighth power, by 1.6e-7. The others: roundings of the exponential, the sum and the
  // quotient.
  expect_close(
      Activation::gelu, [](double x) { return 0.5 * x * std::erfc(-x / std::numbers::sqrt2); },
      2e-7);
  expect_close(
      Activation::silu, [](double x) { return x / (1.0 + std::exp(-x)); }, 4.0 * kUnit);
  expect_close(
      Activation::gelu_tanh,
      [](double x) {
        const double inner = std::sqrt(2.0 / std::numbers::pi) * (x + 0.044715 * x * x * x);
        return x / (1.0 + std::exp(-2.0 * inner));
      },
      4.0 * kUnit);
}

TEST_P(CpuDense, CallsFromTwoThreadsDoNotMeet) {
  constexpr int64_t kRows = 100;  // many enough for panels, which live in scratch
  const TestMatrix weight = TestMatrix::random(1, DType::f16, 96, 64);
  const auto run = [&](const TestMatrix& x) {
    TestMatrix y(DType::f32, x.rows(), weight.rows());
    kernels_->linear({.x = x.view(), .weight = weight.view(), .y = y.view()});
    return y;
  };
  const TestMatrix mine = TestMatrix::random(2, DType::f32, kRows, 64);
  const TestMatrix theirs = TestMatrix::random(3, DType::f32, kRows, 64);
  const TestMatrix expected_mine = run(mine);
  const TestMatrix expected_theirs = run(theirs);
  int wrong = 0;
  std::thread other([&] {
    for (int i = 0; i < 50; ++i) wrong += run(theirs) == expected_theirs ? 0 : 1;
  });
  for (int i = 0; i < 50; ++i) EXPECT_EQ(run(mine), expected_mine);
  other.join();
  EXPECT_EQ(wrong, 0);
}

TEST_P(CpuDense, AWarmKernelAllocatesNothing) {
  if (GetParam().threads > 1) GTEST_SKIP() << "which worker warms up is a matter of chance";
  const TestMatrix x = TestMatrix::random(1, DType::f32, 100, 64);
  const TestMatrix weight = TestMatrix::random(2, DType::bf16, 96, 64);
  TestMatrix y(DType::f32, 100, 96);
  const Linear linear{.x = x.view(), .weight = weight.view(), .y = y.view()};
  kernels_->linear(linear);
  const int64_t before = host_device().allocated_bytes();
  for (int i = 0; i < 3; ++i) kernels_->linear(linear);
  EXPECT_EQ(host_device().allocated_bytes(), before);
}

INSTANTIATE_TEST_SUITE_P(Kernels, CpuDense, testing::ValuesIn(candidates()), candidate_name);

}  // namespace
}  // namespace slim
