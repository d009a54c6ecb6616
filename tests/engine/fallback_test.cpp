// The ladder of temperatures, on made-up results and on a random model.
#include "engine/fallback.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "engine/noise.h"
#include "engine/random_whisper.h"
#include "slim/slim.h"
#include "temporary_folder.h"

namespace slim {
namespace {

TEST(NeedsFallback, WhereTextRepeatsOrIsUnlikelyButNotInSilence) {
  FallbackSetting setting;
  WindowResult good;
  good.avg_logprob = -0.9;
  good.compression_ratio = 2.4;
  EXPECT_FALSE(needs_fallback(setting, good));
  WindowResult repetitive = good;
  repetitive.compression_ratio = 2.5;
  EXPECT_TRUE(needs_fallback(setting, repetitive));
  repetitive.no_speech_prob = 0.9;
  EXPECT_TRUE(needs_fallback(setting, repetitive)) << "likely text is not silence";
  WindowResult unlikely = good;
  unlikely.avg_logprob = -1.1;
  EXPECT_TRUE(needs_fallback(setting, unlikely));
  unlikely.no_speech_prob = 0.7;
  EXPECT_FALSE(needs_fallback(setting, unlikely));
  unlikely.compression_ratio = 5;
  EXPECT_FALSE(needs_fallback(setting, unlikely));
}

TEST(CompressionRatio, RepetitionCompresses) {
  EXPECT_EQ(compression_ratio(""), 0);
  EXPECT_LT(compression_ratio("a short sentence"), 1.2);
  std::string loop;
  for (int i = 0; i < 50; ++i) loop += " again and again";
  EXPECT_GT(compression_ratio(loop), 10);
}

// What a text is made of, and how it came about.
struct Outcome {
  std::vector<int32_t> tokens;
  std::vector<double> temperatures;
  double logprob = 0;  // sum of the segments'
  bool operator==(const Outcome&) const = default;
};

class Ladder : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder = new TemporaryFolder;
    write_random_whisper(folder->path() / "model", {});
    for (int i = 0; i < 3; ++i) {
      write_wav(audio(i),
                noise(static_cast<size_t>(40000 + 30000 * i), 11U + static_cast<uint32_t>(i)));
    }
  }
  static void TearDownTestSuite() { delete folder; }
  static std::string audio(int i) {
    return (folder->path() / ("noise" + std::to_string(i) + ".wav")).string();
  }
  static Engine engine(int threads = 2) {
    EngineOptions chosen;
    chosen.threads = threads;
    return Engine((folder->path() / "model").string(), chosen);
  }
  // Nothing is silence, and everything fails.
  static TranscribeOptions failing(std::vector<double> temperatures) {
    TranscribeOptions options;
    options.temperatures = std::move(temperatures);
    options.logprob_threshold = 0;
    options.no_speech_threshold = 1;
    options.compression_ratio_threshold = 1e9;
    return options;
  }
  static Outcome outcome(const Transcription& transcription) {
    Outcome result;
    for (const Segment& segment : transcription.segments) {
      result.tokens.insert(result.tokens.end(), segment.tokens.begin(), segment.tokens.end());
      result.temperatures.push_back(segment.temperature);
      result.logprob += segment.avg_logprob;
    }
    return result;
  }

  static TemporaryFolder* folder;
};
TemporaryFolder* Ladder::folder = nullptr;

TEST_F(Ladder, OnlyWhatFailsIsDecodedAgain) {
  Engine slim = engine();
  TranscribeOptions options = failing({0, 1});
  Stats once;
  Stats twice;
  options.logprob_threshold = -1e9;
  const Outcome greedy = outcome(slim.transcribe({audio(0)}, options, &once).front());
  options.logprob_threshold = 0;
  const Outcome sampled = outcome(slim.transcribe({audio(0)}, options, &twice).front());
  for (const double temperature : greedy.temperatures) EXPECT_EQ(temperature, 0);
  ASSERT_FALSE(sampled.temperatures.empty());
  for (const double temperature : sampled.temperatures) EXPECT_EQ(temperature, 1);
  EXPECT_GT(twice.steps, once.steps);
}

TEST_F(Ladder, OfTextsThatAllFailTheLikeliestIsTaken) {
  Engine slim = engine();
  TranscribeOptions both = failing({0, 5});
  both.condition_on_previous_text = false;
  TranscribeOptions greedy = both;
  greedy.temperatures = {0};
  // At temperature 5 a text is all but random, so the greedy one is likelier.
  const Outcome chosen = outcome(slim.transcribe({audio(0)}, both).front());
  EXPECT_EQ(chosen.tokens, outcome(slim.transcribe({audio(0)}, greedy).front()).tokens);
  for (const double temperature : chosen.temperatures) EXPECT_EQ(temperature, 5);
}

TEST_F(Ladder, MoreCandidatesAreLikelier) {
  Engine slim = engine();
  TranscribeOptions options = failing({1});
  options.clip_timestamps = {0, 2};  // one window: later ones would have other prompts
  options.best_of = 1;
  options.without_timestamps = true;
  const Outcome one = outcome(slim.transcribe({audio(0)}, options).front());
  options.best_of = 8;
  const Outcome best = outcome(slim.transcribe({audio(0)}, options).front());
  EXPECT_GT(best.logprob, one.logprob);
}

TEST_F(Ladder, ASeedMeansATextWhateverRunsBesideIt) {
  TranscribeOptions options = failing({0, 0.7, 1});
  options.best_of = 3;
  Engine slim = engine(2);
  std::vector<Outcome> alone;
  for (int i = 0; i < 3; ++i)
    alone.push_back(outcome(slim.transcribe({audio(i)}, options).front()));
  Engine single = engine(1);
  EXPECT_EQ(outcome(single.transcribe({audio(1)}, options).front()), alone[1]);
  options.batch_size = 3;
  const auto together = slim.transcribe({audio(0), audio(1), audio(2)}, options);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(outcome(together[i]).tokens, alone[i].tokens) << i;
  options.batch_size = 1;
  options.temperatures = {1};
  const Outcome zero = outcome(slim.transcribe({audio(2)}, options).front());
  options.seed = 1;
  EXPECT_NE(outcome(slim.transcribe({audio(2)}, options).front()).tokens, zero.tokens);
}

TEST_F(Ladder, FilesFallBackIndependently) {
  Engine slim = engine();
  TranscribeOptions options = failing({0, 1});
  options.batch_size = 3;
  std::vector<double> logprobs;
  TranscribeOptions greedy = options;
  greedy.temperatures = {0};
  for (const Transcription& one : slim.transcribe({audio(0), audio(1), audio(2)}, greedy)) {
    ASSERT_FALSE(one.segments.empty());
    logprobs.push_back(one.segments.front().avg_logprob);
  }
  // A threshold that one first window passes and another does not.
  const auto [low, high] = std::minmax_element(logprobs.begin(), logprobs.end());
  ASSERT_LT(*low, *high);
  options.logprob_threshold = (*low + *high) / 2;
  const auto together = slim.transcribe({audio(0), audio(1), audio(2)}, options);
  for (int i = 0; i < 3; ++i) {
    const Transcription& one = together[static_cast<size_t>(i)];
    ASSERT_FALSE(one.segments.empty());
    const bool passes = logprobs[static_cast<size_t>(i)] >= options.logprob_threshold;
    EXPECT_EQ(one.segments.front().temperature, passes ? 0 : 1) << i;
    EXPECT_EQ(outcome(one).tokens, outcome(slim.transcribe({audio(i)}, options).front()).tokens);
  }
}

TEST_F(Ladder, APrefixIsPartOfTheText) {
  Engine slim = engine();
  TranscribeOptions options;
  options.prefix = "so";
  options.initial_prompt = "before";
  options.hotwords = "hot";
  for (const bool plain : {false, true}) {
    options.without_timestamps = plain;
    for (const std::vector<double>& temperatures : {std::vector<double>{0}, {1}}) {
      options.temperatures = temperatures;
      const Transcription result = slim.transcribe({audio(0)}, options).front();
      ASSERT_FALSE(result.segments.empty());
      EXPECT_EQ(result.segments.front().text.substr(0, 3), " so");
      EXPECT_EQ(result.segments.front().start, 0);
    }
  }
}

}  // namespace
}  // namespace slim
