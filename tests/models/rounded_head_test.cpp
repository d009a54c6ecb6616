// What is found in rounded logits that were settled, against what is found in exact ones: the same
// columns, whatever stands close together. Their log-probabilities differ by rounding and by what
// unlikely columns add to the sum.
#include "models/rounded_head.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

namespace slim {
namespace {

constexpr int64_t kRows = 9000;
constexpr int64_t kWidth = 64;
constexpr float kLowest = -std::numeric_limits<float>::infinity();

ModelSpec hearing() {
  ModelSpec spec;
  spec.mel_bins = 80;
  return spec;
}

Tensor random_rows(uint32_t seed, int64_t rows, float deviation) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, deviation);
  std::vector<float> values(static_cast<size_t>(rows * kWidth));
  for (float& value : values) value = normal(random);
  return Tensor::from(values, {rows, kWidth});
}

class RoundedHeadTest : public testing::TestWithParam<int64_t> {  // rows of a step
 protected:
  std::vector<Candidate> found(Matrix logits, int64_t count, int64_t tail) const {
    std::vector<Candidate> all(static_cast<size_t>(logits.rows * count));
    kernels_->find_candidates({.x = logits, .count = count, .tail = tail, .candidates = all});
    return all;
  }
  // Both ways; returns how many columns rounding alone would have got wrong.
  int compare(const LinearWeights& head, ConstMatrix x, int64_t count, int64_t tail,
              const std::vector<ForbiddenColumns>& forbidden) {
    const auto rounded = RoundedHead::make(hearing(), head, *kernels_);
    if (rounded == nullptr) throw std::runtime_error("it should suit");
    Tensor exact = Tensor::allocate(host_device(), DType::f32, {x.rows, kRows});
    Tensor settled = Tensor::allocate(host_device(), DType::f32, {x.rows, kRows});
    kernels_->linear(linear_of(x, head, exact.writable_matrix()));
    rounded->approximate(x, settled.writable_matrix());
    for (Tensor* logits : {&exact, &settled}) {
      if (!forbidden.empty()) kernels_->forbid({logits->writable_matrix(), forbidden});
    }
    const auto rough = found(settled.writable_matrix(), count, tail);
    FindCandidates find;
    find.count = count;
    find.tail = tail;
    const Tensor before = Tensor::from(
        std::vector<float>(settled.values<float>(), settled.values<float>() + x.rows * kRows),
        {x.rows, kRows});
    rounded->settle(x, find, settled.writable_matrix());
    settled_ = 0;
    for (int64_t column = 0; column < kRows; ++column) {
      bool other = false;
      for (int64_t t = 0; t < x.rows; ++t) {
        other |= before.matrix().row<float>(t)[column] != settled.matrix().row<float>(t)[column];
      }
      settled_ += other ? 1 : 0;
    }
    const auto mine = found(settled.writable_matrix(), count, tail);
    const auto expected = found(exact.writable_matrix(), count, tail);
    int wrong = 0;
    for (size_t i = 0; i < expected.size(); ++i) {
      EXPECT_EQ(mine[i].column, expected[i].column) << i;
      if (expected[i].column >= 0) {
        const int64_t t = static_cast<int64_t>(i) / count;
        const float logit = exact.matrix().row<float>(t)[expected[i].column];
        const float rounding = 1e-6F * std::abs(logit);  // f32's
        EXPECT_NEAR(mine[i].log_probability, expected[i].log_probability, 2e-3F + rounding) << i;
      } else {
        EXPECT_EQ(std::isnan(mine[i].log_probability), std::isnan(expected[i].log_probability));
      }
      wrong += rough[i].column != expected[i].column ? 1 : 0;
    }
    return wrong;
  }

  std::unique_ptr<Kernels> kernels_ = make_kernels("cpu", 1);
  int64_t settled_ = 0;  // columns that compare() found multiplied again, for some row
};

TEST_P(RoundedHeadTest, FindsWhatExactLogitsHold) {
  LinearWeights head;
  head.weight = random_rows(1, kRows, 0.1F);
  const Tensor x = random_rows(2, GetParam(), 2);
  compare(head, x.matrix(), 6, kNoTail, {});
  compare(head, x.matrix(), 6, 8000, {});
  compare(head, x.matrix(), 2, 8000, {{-1, 0, 100}, {0, 8000, 8990}});
}

// Rows that differ by less than an integer is wide: their order is that of the weights all the
// same.
TEST_P(RoundedHeadTest, TellsApartWhatRoundsAlike) {
  Tensor weight = random_rows(3, kRows, 0.1F);
  Tensor noise = random_rows(4, kRows, 1e-4F);
  auto* values = weight.writable<float>();
  for (int64_t row = 1; row < 40; ++row) {
    for (int64_t i = 0; i < kWidth; ++i) {
      values[row * kWidth + i] = values[i] + noise.values<float>()[row * kWidth + i];
    }
  }
  Tensor x = Tensor::allocate(host_device(), DType::f32, {GetParam(), kWidth});
  for (int64_t t = 0; t < GetParam(); ++t) {
    for (int64_t i = 0; i < kWidth; ++i) {
      x.writable<float>()[t * kWidth + i] = 10 * values[i] + 0.01F * static_cast<float>(t);
    }
  }
  LinearWeights head;
  head.weight = weight;
  EXPECT_GT(compare(head, x.matrix(), 6, kNoTail, {}), 0) << "the test should be a hard one";
}

// As trained tables are: rows with much in common, columns of very different size, one that is the
// same in all rows, and an x with numbers far above the others, one of them there. Little of it has
// to be multiplied again.
TEST_P(RoundedHeadTest, RowsMayHaveMuchInCommon) {
  Tensor weight = random_rows(8, kRows, 0.05F);
  const Tensor common = random_rows(9, 1, 3);
  auto* values = weight.writable<float>();
  for (int64_t row = 0; row < kRows; ++row) {
    values[row * kWidth + 1] *= 10;
    values[row * kWidth + 2] = 0;
    for (int64_t i = 0; i < kWidth; ++i) values[row * kWidth + i] += common.values<float>()[i];
  }
  Tensor x = random_rows(10, GetParam(), 2);
  for (int64_t t = 0; t < GetParam(); ++t) {
    x.writable<float>()[t * kWidth + 2] = -300;
    x.writable<float>()[t * kWidth + 3] = 32;
  }
  LinearWeights head;
  head.weight = weight;
  compare(head, x.matrix(), 6, kNoTail, {});
  EXPECT_LT(settled_, kRows / (GetParam() == 64 ? 2 : 8));
  compare(head, x.matrix(), 6, 8000, {{-1, 0, 100}});
}

// Sums of squares have to be numbers.
TEST_P(RoundedHeadTest, NumbersMayBeVeryLargeOrSmall) {
  LinearWeights head;
  head.weight = random_rows(11, kRows, 0.1F);
  for (const float size : {1e25F, 1e-25F}) {
    Tensor x = random_rows(12, GetParam(), 2);
    for (int64_t i = 0; i < x.elements(); ++i) x.writable<float>()[i] *= size;
    compare(head, x.matrix(), 6, kNoTail, {});
  }
}

TEST_P(RoundedHeadTest, FewColumnsAndNaN) {
  LinearWeights head;
  head.weight = random_rows(5, kRows, 0.1F);
  Tensor x = random_rows(6, GetParam(), 1);
  compare(head, x.matrix(), 6, 8000, {{-1, 3, 8200}, {-1, 8203, 9000}});
  compare(head, x.matrix(), 6, 8000, {{-1, 0, 9000}});
  x.writable<float>()[5] = std::numeric_limits<float>::quiet_NaN();
  compare(head, x.matrix(), 6, 8000, {});
}

INSTANTIATE_TEST_SUITE_P(Rows, RoundedHeadTest, testing::Values(1, 5, 64));

TEST(RoundedHead, ServesWhereItCan) {
  const auto kernels = make_kernels("cpu", 1);
  const auto made = [&](const ModelSpec& spec, const LinearWeights& head) {
    return RoundedHead::make(spec, head, *kernels) != nullptr;
  };
  LinearWeights head;
  head.weight = random_rows(7, kRows, 1);
  EXPECT_TRUE(made(hearing(), head));
  EXPECT_FALSE(made(ModelSpec(), head)) << "of models of text memory counts";
  ModelSpec scaled = hearing();
  scaled.logit_scale = 2;
  EXPECT_FALSE(made(scaled, head));
  for (const float value : {-kLowest, kLowest, std::nanf("")}) {
    LinearWeights damaged;
    damaged.weight = random_rows(8, kRows, 1);
    damaged.weight.writable<float>()[77] = value;
    EXPECT_FALSE(made(hearing(), damaged));
  }
  LinearWeights few;
  few.weight = random_rows(9, 100, 1);
  EXPECT_FALSE(made(hearing(), few));
}

}  // namespace
}  // namespace slim
