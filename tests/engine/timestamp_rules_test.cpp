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
    ForbiddenTokens forbidden(rules, 40);
    forbidden.forbid_always(-1);
    forbidden.forbid_after(sampled, 7);
    return left_by(forbidden, 7);
  }
  // What may come in a row of 40.
  static std::vector<int32_t> left_by(const ForbiddenTokens& forbidden, int32_t row) {
    std::vector<int32_t> ids = range(0, 40);
    for (const ForbiddenColumns& columns : forbidden.columns()) {
      EXPECT_LE(0, columns.begin);
      EXPECT_LT(columns.begin, columns.end);
      EXPECT_LE(columns.end, 40);
      if (columns.row != -1 && columns.row != row) continue;
      std::erase_if(ids, [&](int32_t id) { return id >= columns.begin && id < columns.end; });
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

TEST_F(Rules, ASegmentThatHasBegunMayNeedText) {
  const auto ends = [&](const std::vector<int32_t>& sampled, int32_t before) {
    ForbiddenTokens forbidden(rules, 40);
    forbidden.require_text(sampled, before, 2);
    EXPECT_EQ(left_by(forbidden, 1), range(0, 40)) << "other rows have texts of their own";
    const std::vector<int32_t> left = left_by(forbidden, 2);
    return std::count(left.begin(), left.end(), 10) == 1;
  };
  EXPECT_FALSE(ends({18, 0, 20, 20}, 10));
  EXPECT_TRUE(ends({18, 0, 20, 20}, 20 - rules.tokens->first_timestamp));
  EXPECT_FALSE(ends({18, 0, 20, 20}, 21 - rules.tokens->first_timestamp));
  EXPECT_TRUE(ends({18, 0, 20, 20}, 0));
  EXPECT_TRUE(ends({18}, 10)) << "a window may hold nothing";
  EXPECT_TRUE(ends({18, 0, 20}, 10)) << "a segment may be the last";
  EXPECT_TRUE(ends({18, 0, 20, 20, 1}, 10));
}

TEST_F(Rules, TimestampsTogetherWinOverTheBestText) {
  std::vector<float> logprobs(40, kForbidden);
  logprobs[1] = std::log(0.4F);
  logprobs[20] = std::log(0.35F);
  logprobs[21] = std::log(0.25F);
  settle_timestamps(rules, logprobs);
  EXPECT_EQ(logprobs[1], kForbidden);
  EXPECT_NEAR(logprobs[20], std::log(0.35 / 0.6), 1e-6);
  EXPECT_NEAR(logprobs[21], std::log(0.25 / 0.6), 1e-6);
}

TEST_F(Rules, TheBestTextWinsOtherwise) {
  std::vector<float> logprobs(40, kForbidden);
  logprobs[1] = std::log(0.6F);
  logprobs[20] = std::log(0.4F);
  const std::vector<float> before = logprobs;
  settle_timestamps(rules, logprobs);
  EXPECT_EQ(logprobs, before);
  logprobs[1] = std::log(0.3F);
  rules.timestamps = false;
  settle_timestamps(rules, logprobs);
  EXPECT_EQ(logprobs[1], std::log(0.3F)) << "there is no such rule without timestamps";
}

TEST_F(Rules, NothingLeftStaysNothing) {
  std::vector<float> none(40, kForbidden);
  settle_timestamps(rules, none);
  EXPECT_EQ(none, std::vector<float>(40, kForbidden));
  std::vector<float> nan(40, std::nanf(""));
  settle_timestamps(rules, nan);
  EXPECT_EQ(argmax(nan), -1);
}

class Draws : public Rules {
 protected:
  // How often each id is drawn in 20,000 draws, after the rule on timestamps.
  std::vector<int> times(std::vector<float> logprobs, double temperature) {
    settle_timestamps(rules, logprobs);
    RandomNumbers random(7);
    std::vector<int> times(logprobs.size());
    for (int i = 0; i < 20000; ++i) {
      ++times[static_cast<size_t>(draw(logprobs, temperature, random).token)];
    }
    return times;
  }
};

TEST_F(Draws, FollowTheProbabilitiesToThePower) {
  std::vector<float> logprobs(40, kForbidden);
  logprobs[1] = std::log(0.5F);
  logprobs[2] = std::log(0.3F);
  logprobs[20] = std::log(0.2F);  // a timestamp may be drawn where it does not win together
  const auto plain = times(logprobs, 1);
  EXPECT_NEAR(plain[1], 10000, 400);
  EXPECT_NEAR(plain[2], 6000, 400);
  EXPECT_NEAR(plain[20], 4000, 400);
  const auto sharp = times(logprobs, 0.5);  // squares: 25, 9, 4 of 38
  EXPECT_NEAR(sharp[1], 20000 * 25 / 38, 400);
  EXPECT_NEAR(sharp[20], 20000 * 4 / 38, 400);
  EXPECT_EQ(times(logprobs, 0.001)[1], 20000);
}

TEST_F(Draws, TimestampsTogetherWinOverTheBestText) {
  std::vector<float> logprobs(40, kForbidden);
  logprobs[1] = std::log(0.4F);
  logprobs[20] = std::log(0.45F);
  logprobs[21] = std::log(0.15F);
  const auto drawn = times(logprobs, 1);
  EXPECT_EQ(drawn[1], 0);
  EXPECT_NEAR(drawn[20], 15000, 400);
  settle_timestamps(rules, logprobs);
  RandomNumbers random(7);
  const Choice choice = draw(logprobs, 0.001, random);
  EXPECT_EQ(choice.token, 20);
  EXPECT_NEAR(choice.logprob, std::log(0.75), 1e-6);
}

TEST_F(Draws, NothingLeftIsImpossible) {
  RandomNumbers random(7);
  EXPECT_EQ(draw(std::vector<float>(40, kForbidden), 1, random).logprob, kForbidden);
  EXPECT_EQ(draw(std::vector<float>(40, std::nanf("")), 0.2, random).logprob, kForbidden);
}

TEST_F(Draws, AreTheSameForTheSameNumbers) {
  std::vector<float> logprobs(40, std::log(1 / 40.0F));
  rules.timestamps = false;
  EXPECT_EQ(times(logprobs, 0.7), times(logprobs, 0.7));
}

}  // namespace
}  // namespace slim
