// Divergence against a second formula and against cases known by hand.
#include "engine/divergence.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

namespace slim {
namespace {

TEST(Divergence, EqualLogitsHaveNone) {
  Divergence divergence;
  const std::vector<float> logits = {1, -2, 3.5F, 0};
  divergence.add(logits, logits);
  EXPECT_EQ(divergence.kl_mean(), 0);
  EXPECT_EQ(divergence.logit_rel(), 0);
  EXPECT_EQ(divergence.top1(), 1);
}

TEST(Divergence, TwoOutcomesByHand) {
  // p = (3/4, 1/4), q = (1/2, 1/2).
  Divergence divergence;
  divergence.add(std::vector<float>{std::log(3.0F), 0}, std::vector<float>{0, 0});
  const double expected = 0.75 * std::log(0.75 / 0.5) + 0.25 * std::log(0.25 / 0.5);
  EXPECT_NEAR(divergence.kl_mean(), expected, 1e-7);
  EXPECT_NEAR(divergence.logit_rel(), 1, 1e-7);
}

TEST(Divergence, AConstantShiftOfLogitsIsNone) {
  Divergence divergence;
  divergence.add(std::vector<float>{1, 2, 3}, std::vector<float>{9, 10, 11});
  EXPECT_NEAR(divergence.kl_mean(), 0, 1e-14);
}

TEST(Divergence, TinyOnesDoNotDrownInRounding) {
  // log-probabilities off by delta * (centred noise): KL is half its variance under p.
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  std::vector<float> p(50000, 0.0F);
  std::vector<float> q(p.size());
  const float delta = 1e-6F;
  double variance = 0;
  double mean = 0;
  for (size_t i = 0; i < p.size(); ++i) q[i] = delta * normal(random);
  for (const float value : q) mean += value / static_cast<double>(q.size());
  for (const float value : q)
    variance += (value - mean) * (value - mean) / static_cast<double>(q.size());
  Divergence divergence;
  divergence.add(p, q);
  EXPECT_NEAR(divergence.kl_mean() / (variance / 2), 1, 1e-4);
}

TEST(Divergence, NaNIsInfinitelyFar) {
  Divergence divergence;
  divergence.add(std::vector<float>{1, 2}, std::vector<float>{std::nanf(""), 2});
  divergence.add(std::vector<float>{1, 2}, std::vector<float>{1, 2});
  EXPECT_TRUE(std::isinf(divergence.kl_mean()));
  EXPECT_TRUE(std::isinf(divergence.logit_rel()));
}

TEST(Divergence, QuantilesAndAgreement) {
  Divergence divergence;
  for (int i = 0; i < 99; ++i) divergence.add(std::vector<float>{1, 0}, std::vector<float>{1, 0});
  divergence.add(std::vector<float>{1, 0}, std::vector<float>{0, 1});
  EXPECT_EQ(divergence.tokens(), 100);
  EXPECT_EQ(divergence.kl_quantile(0.99), 0);
  EXPECT_GT(divergence.kl_quantile(1), 0.4);
  EXPECT_DOUBLE_EQ(divergence.top1(), 0.99);
}

}  // namespace
}  // namespace slim
