// What options mean for a model, and the sentences about those that mean nothing.
#include "engine/transcription_setting.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "slim/error.h"

namespace slim {
namespace {

class Setting : public testing::Test {
 protected:
  void SetUp() override {
    tokenizer = Tokenizer::load(SLIM_TEST_DATA "/golden/text/tiny_whisper_tokenizer.json");
    tokens = speech_tokens(*tokenizer, true);
    english = speech_tokens(*tokenizer, false);
    spec.vocabulary = tokenizer->size();
    spec.encoder.positions = 100;
    spec.decoder.positions = 64;
  }
  TranscriptionSetting setting(const SpeechTokens& of) const {
    return transcription_setting(*tokenizer, of, spec, options);
  }
  TranscriptionSetting setting() const { return setting(tokens); }
  // The sentence about options that are refused.
  std::string refusal(const std::function<void(TranscribeOptions&)>& change) {
    options = {};
    change(options);
    try {
      setting();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::bad_request);
      return error.what();
    }
    ADD_FAILURE() << "not refused";
    return {};
  }
  static bool has(const std::vector<int32_t>& ids, int32_t id) {
    return std::find(ids.begin(), ids.end(), id) != ids.end();
  }

  std::shared_ptr<const Tokenizer> tokenizer;
  SpeechTokens tokens;
  SpeechTokens english;
  ModelSpec spec;
  TranscribeOptions options;
};

TEST_F(Setting, DefaultsAreThoseOfFasterWhisper) {
  const TranscriptionSetting made = setting();
  EXPECT_EQ(made.task, tokens.transcribe);
  EXPECT_EQ(made.window_frames, 200);
  EXPECT_EQ(made.fallback.temperatures, (std::vector<double>{0, 0.2, 0.4, 0.6, 0.8, 1}));
  EXPECT_EQ(made.fallback.beam_size, 5);
  EXPECT_EQ(made.fallback.best_of, 5);
  EXPECT_EQ(made.fallback.decode.patience, 1);
  EXPECT_FALSE(made.fallback.decode.length_penalty);
  EXPECT_EQ(made.fallback.decode.max_tokens, 32);
  EXPECT_EQ(made.fallback.decode.rules.max_initial, 50);
  EXPECT_TRUE(made.fallback.decode.rules.suppress_blank);
  EXPECT_TRUE(made.initial_prompt.empty() && made.hotwords.empty() && made.prefix.empty());
}

TEST_F(Setting, TheTaskIsAToken) {
  options.task = "translate";
  EXPECT_EQ(setting().task, tokens.translate);
  EXPECT_GE(tokens.translate, 0);
  try {
    setting(english);
    ADD_FAILURE() << "an English-only model cannot translate";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::bad_request);
    EXPECT_NE(error.text().find("English"), std::string::npos);
  }
}

TEST_F(Setting, LanguagesHaveNamesToo) {
  for (const char* name : {"fr", "FR", "French", "french"}) {
    options.language = name;
    EXPECT_EQ(setting().options.language, "fr") << name;
  }
  options.language = "Haitian Creole";
  EXPECT_EQ(setting().options.language, "ht");
  options.language = "Klingon";  // refused where the tokenizer is asked
  EXPECT_EQ(setting().options.language, "klingon");
}

TEST_F(Setting, TextsAreTrimmedAndCutToTheBudget) {
  options.initial_prompt = "  before ";
  options.hotwords = "\t\n ";
  options.prefix = "so";
  TranscriptionSetting made = setting();
  EXPECT_EQ(made.initial_prompt, tokenizer->encode(" before"));
  EXPECT_TRUE(made.hotwords.empty());
  EXPECT_EQ(made.prefix, tokenizer->encode(" so"));
  for (int i = 0; i < 100; ++i) options.hotwords += "x y ";
  options.prefix = options.hotwords;
  made = setting();
  EXPECT_EQ(made.hotwords.size(), 31U);  // the first ones
  EXPECT_EQ(made.hotwords[0], tokenizer->encode(" x").at(0));
  EXPECT_EQ(made.prefix.size(), 31U);
}

TEST_F(Setting, SteeringTokensAreAlwaysSuppressed) {
  const int32_t mark = tokens.non_speech.at(0);
  EXPECT_TRUE(has(setting().fallback.decode.rules.suppressed, mark));
  options.suppress_tokens = {};
  EXPECT_FALSE(has(setting().fallback.decode.rules.suppressed, mark));
  EXPECT_TRUE(has(setting().fallback.decode.rules.suppressed, tokens.start));
  EXPECT_TRUE(has(setting().fallback.decode.rules.suppressed, tokens.translate));
  options.suppress_tokens = {-1, 40};
  EXPECT_TRUE(has(setting().fallback.decode.rules.suppressed, mark));
  EXPECT_TRUE(has(setting().fallback.decode.rules.suppressed, 40));
}

TEST_F(Setting, WhatCannotBeServedIsASentence) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const auto expect = [&](const char* about, const std::function<void(TranscribeOptions&)>& set) {
    const std::string sentence = refusal(set);
    EXPECT_NE(sentence.find(about), std::string::npos) << sentence;
  };
  expect("dance", [](auto& o) { o.task = "dance"; });
  expect("suppress_tokens -2", [](auto& o) { o.suppress_tokens = {-2}; });
  expect("suppress_tokens 999999", [](auto& o) { o.suppress_tokens = {999999}; });
  expect("temperature", [](auto& o) { o.temperatures = {}; });
  expect("temperature", [](auto& o) { o.temperatures.assign(101, 0.5); });
  expect("temperature -0.5", [](auto& o) { o.temperatures = {0, -0.5}; });
  expect("temperature", [&](auto& o) { o.temperatures = {nan}; });
  expect("best_of 0", [](auto& o) { o.best_of = 0; });
  expect("best_of 101", [](auto& o) { o.best_of = 101; });
  expect("beam_size 0", [](auto& o) { o.beam_size = 0; });
  expect("beam_size 101", [](auto& o) { o.beam_size = 101; });
  expect("patience 0", [](auto& o) { o.patience = 0; });
  expect("patience", [&](auto& o) { o.patience = nan; });
  expect("length_penalty -0.5", [](auto& o) { o.length_penalty = -0.5; });
  expect("length_penalty 1.5", [](auto& o) { o.length_penalty = 1.5; });
  expect("length_penalty", [&](auto& o) { o.length_penalty = nan; });
  expect("max_tokens -1", [](auto& o) { o.max_tokens = -1; });
  expect("clip_timestamps 3", [](auto& o) { o.clip_timestamps = {5, 3}; });
  expect("clip_timestamps -1", [](auto& o) { o.clip_timestamps = {-1}; });
  expect("clip_timestamps", [&](auto& o) { o.clip_timestamps = {nan}; });
  expect("max_initial_timestamp", [](auto& o) { o.max_initial_timestamp = -1; });
  expect("logprob_threshold", [&](auto& o) { o.logprob_threshold = nan; });
  expect("no_speech_threshold", [&](auto& o) { o.no_speech_threshold = nan; });
  expect("compression_ratio", [&](auto& o) { o.compression_ratio_threshold = nan; });
  expect("prompt_reset", [&](auto& o) { o.prompt_reset_on_temperature = nan; });
}

}  // namespace
}  // namespace slim
