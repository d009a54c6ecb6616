// The sampling rules, on a made-up vocabulary of 40: text 0..9 (blank 3), end 10, steering 11..15,
// timestamps 16..39.
#include "engine/timestamp_rules.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace slim {
namespace {

constexpr float kForbidden = -std::numeric_limits<float>::infinity();

SpeechTokens made_up_tokens() {
  SpeechTokens tokens;
  tokens.end = 10;
  tokens.start = 11;
  tokens.previous = 12;
  tokens.no_speech = 13;
  tokens.transcribe = 14;
  tokens.no_timestamps = 15;
  tokens.first_timestamp = 16;
  tokens.blank = 3;
  return tokens;
}

class Rules : public testing::Test {
 protected:
  std::vector<int32_t> allowed(const std::vector<int32_t>& sampled) {
    std::vector<float> logits(40, 0.0F);
    apply_rules(rules, sampled, logits);
    std::vector<int32_t> ids;
    for (size_t i = 0; i < logits.size(); ++i) {
      if (logits[i] == 0) ids.push_back(static_cast<int32_t>(i));
    }
    return ids;
  }
  static std::vector<int32_t> range(int32_t begin, int32_t end) {
    std::vector<int32_t> ids;
    for (int32_t id = begin; id < end; ++id) ids.push_back(id);
    return ids;
  }

  SpeechTokens tokens = made_up_tokens();
  SamplingRules rules{&tokens, true, 4, true, {5, 11, 12, 13, 14}};
};

TEST_F(Rules, FirstTokenIsAnEarlyTimestamp) { EXPECT_EQ(allowed({}), range(16, 21)); }

TEST_F(Rules, FirstTokenWithoutTimestampsIsNeitherBlankNorEnd) {
  rules.timestamps = false;
  const auto ids = allowed({});
  EXPECT_EQ(std::count(ids.begin(), ids.end(), 3), 0);
  EXPECT_EQ(std::count(ids.begin(), ids.end(), 10), 0);
  EXPECT_EQ(std::count(ids.begin(), ids.end(), 5), 0);
  EXPECT_EQ(std::count(ids.begin(), ids.end(), 0), 1);
}

TEST_F(Rules, ABlankMayComeFirstIfAllowed) {
  rules.timestamps = false;
  rules.suppress_blank = false;
  rules.suppressed = {0, 39};
  std::vector<int32_t> expected = range(1, 39);
  EXPECT_EQ(allowed({}), expected);
}

TEST_F(Rules, TextFollowsTheOpeningTimestamp) {
  const std::vector<int32_t> text_and_end = {0, 1, 2, 3, 4, 6, 7, 8, 9, 10};
  EXPECT_EQ(allowed({16}), text_and_end);
}

TEST_F(Rules, TimestampsNeverDecreaseAndSegmentsHaveLength) {
  // After text: anything, but a timestamp must lie after the opening one.
  auto ids = allowed({18, 0});
  EXPECT_EQ(std::count(ids.begin(), ids.end(), 18), 0);
  EXPECT_EQ(std::count(ids.begin(), ids.end(), 19), 1);
}

TEST_F(Rules, AClosingTimestampIsFollowedByAnOpeningOneOrTheEnd) {
  // The next segment may start when the last one ended.
  auto expected = range(20, 40);
  expected.insert(expected.begin(), 10);
  EXPECT_EQ(allowed({18, 0, 20}), expected);
}

TEST_F(Rules, AnOpeningTimestampIsFollowedByText) {
  const std::vector<int32_t> text_and_end = {0, 1, 2, 3, 4, 6, 7, 8, 9, 10};
  EXPECT_EQ(allowed({18, 0, 20, 20}), text_and_end);
}

TEST_F(Rules, TimestampsTogetherWinOverTheBestText) {
  std::vector<float> logprobs(40, kForbidden);
  logprobs[1] = std::log(0.4F);
  logprobs[20] = std::log(0.35F);
  logprobs[21] = std::log(0.25F);
  const Choice choice = choose_greedily(rules, logprobs);
  EXPECT_EQ(choice.token, 20);
  EXPECT_NEAR(choice.logprob, std::log(0.35 / 0.6), 1e-6);
}

TEST_F(Rules, TheBestTextWinsOtherwise) {
  std::vector<float> logprobs(40, kForbidden);
  logprobs[1] = std::log(0.6F);
  logprobs[20] = std::log(0.4F);
  EXPECT_EQ(choose_greedily(rules, logprobs).token, 1);
}

TEST_F(Rules, NothingLeftMeansTheEnd) {
  const std::vector<float> none(40, kForbidden);
  EXPECT_EQ(choose_greedily(rules, none).token, 10);
  const std::vector<float> nan(40, std::numeric_limits<float>::quiet_NaN());
  EXPECT_EQ(choose_greedily(rules, nan).token, 10);
}

class Draws : public Rules {
 protected:
  // How often each id is drawn in 20,000 draws.
  std::vector<int> draw(const std::vector<float>& logprobs, double temperature) {
    RandomNumbers random(7);
    std::vector<int> times(logprobs.size());
    for (int i = 0; i < 20000; ++i) {
      const Choice choice = choose_randomly(rules, logprobs, temperature, random);
      ++times[static_cast<size_t>(choice.token)];
    }
    return times;
  }
};

TEST_F(Draws, FollowTheProbabilitiesToThePower) {
  std::vector<float> logprobs(40, kForbidden);
  logprobs[1] = std::log(0.5F);
  logprobs[2] = std::log(0.3F);
  logprobs[20] = std::log(0.2F);  // a timestamp may be drawn where it does not win together
  const auto plain = draw(logprobs, 1);
  EXPECT_NEAR(plain[1], 10000, 400);
  EXPECT_NEAR(plain[2], 6000, 400);
  EXPECT_NEAR(plain[20], 4000, 400);
  const auto sharp = draw(logprobs, 0.5);  // squares: 25, 9, 4 of 38
  EXPECT_NEAR(sharp[1], 20000 * 25 / 38, 400);
  EXPECT_NEAR(sharp[20], 20000 * 4 / 38, 400);
  EXPECT_EQ(draw(logprobs, 0.001)[1], 20000);
}

TEST_F(Draws, TimestampsTogetherWinOverTheBestText) {
  std::vector<float> logprobs(40, kForbidden);
  logprobs[1] = std::log(0.4F);
  logprobs[20] = std::log(0.45F);
  logprobs[21] = std::log(0.15F);
  const auto times = draw(logprobs, 1);
  EXPECT_EQ(times[1], 0);
  EXPECT_NEAR(times[20], 15000, 400);
  RandomNumbers random(7);
  const Choice choice = choose_randomly(rules, logprobs, 0.001, random);
  EXPECT_EQ(choice.token, 20);
  EXPECT_NEAR(choice.logprob, std::log(0.75), 1e-6);
}

TEST_F(Draws, NothingLeftMeansTheEnd) {
  EXPECT_EQ(draw(std::vector<float>(40, kForbidden), 1)[10], 20000);
  EXPECT_EQ(draw(std::vector<float>(40, std::nanf("")), 0.2)[10], 20000);
}

TEST_F(Draws, AreTheSameForTheSameNumbers) {
  std::vector<float> logprobs(40, std::log(1 / 40.0F));
  rules.timestamps = false;
  EXPECT_EQ(draw(logprobs, 0.7), draw(logprobs, 0.7));
}

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

}  // namespace
}  // namespace slim
