// Recordings with word times and without silence, with made-up windows and alignments; and a whole
// random model with everything on.
#include <gtest/gtest.h>

#include <cmath>

#include "engine/random_whisper.h"
#include "engine/recording.h"
#include "temporary_folder.h"

namespace slim {
namespace {

// A buzz in bursts, which counts as speech, in stretches of seconds.
std::vector<float> buzz(double seconds, const std::vector<std::pair<double, double>>& stretches) {
  std::vector<float> samples(static_cast<size_t>(seconds * kSampleRate));
  for (const auto& [begin, end] : stretches) {
    for (auto i = static_cast<size_t>(begin * kSampleRate);
         i < std::min(samples.size(), static_cast<size_t>(end * kSampleRate)); ++i) {
      const double t = static_cast<double>(i) / kSampleRate;
      for (int harmonic = 1; harmonic <= 20 && std::fmod(t, 0.5) < 0.3; ++harmonic) {
        samples[i] += static_cast<float>(0.05 * std::sin(880 * harmonic * t) / harmonic);
      }
    }
  }
  return samples;
}

class WordRecording : public testing::Test {
 protected:
  void SetUp() override {
    tokenizer = Tokenizer::load(SLIM_TEST_DATA "/golden/text/tiny_whisper_tokenizer.json");
    tokens = speech_tokens(*tokenizer, false);
    setting.tokenizer = tokenizer.get();
    setting.tokens = &tokens;
    setting.task = tokens.transcribe;
    setting.options.word_timestamps = true;
  }
  Recording record(const std::vector<float>& samples) {
    return Recording(AudioReader::from_samples(samples, "made up"), 80, setting);
  }
  std::vector<int32_t> ids(double begin, const std::string& text, double end) const {
    const auto at = [&](double seconds) {
      return tokens.first_timestamp + static_cast<int32_t>(std::lround(seconds / 0.02));
    };
    std::vector<int32_t> all = {at(begin)};
    const std::vector<int32_t> words = tokenizer->encode(text);
    all.insert(all.end(), words.begin(), words.end());
    all.push_back(at(end));
    return all;
  }
  static WindowResult said(std::vector<int32_t> ids) {
    WindowResult result;
    result.tokens = std::move(ids);
    result.avg_logprob = -0.2;
    return result;
  }
  // Every token takes a tenth of a second, from `begin` on.
  static Recording::Align from(double begin) {
    return [begin](auto, std::span<const int32_t> text, int64_t) {
      TokenTimes times{{begin}, std::vector<double>(text.size(), 0.9)};
      for (size_t i = 1; i <= text.size(); ++i) {
        times.at.push_back(begin + 0.1 * static_cast<double>(i));
      }
      return times;
    };
  }

  std::shared_ptr<const Tokenizer> tokenizer;
  SpeechTokens tokens;
  TranscriptionSetting setting;
};

TEST_F(WordRecording, TheNextWindowBeginsWhereTheWordsEnd) {
  Recording recording = record(buzz(60, {{0, 60}}));
  ASSERT_TRUE(recording.next_window());
  std::vector<int32_t> pair = ids(0, " one", 5);
  const std::vector<int32_t> second = ids(5, " two", 9);
  pair.insert(pair.end(), second.begin(), second.end());
  pair.push_back(pair.back());  // a pair: more follows
  recording.accept(said(pair), from(2));
  const double end = recording.seconds_done();
  EXPECT_LT(end, 5);
  ASSERT_TRUE(recording.next_window());
  recording.accept(said(ids(0, " three", 9)), from(1));
  EXPECT_DOUBLE_EQ(recording.seconds_done(), end + 30) << "nothing follows, says the model";
  const Transcription result = recording.take();
  ASSERT_EQ(result.segments.size(), 3U);
  EXPECT_DOUBLE_EQ(result.segments[0].start, 2);
  EXPECT_DOUBLE_EQ(result.segments[1].end, end);
  EXPECT_NEAR(result.segments[2].words->front().start, end + 1, 0.011);
  std::string text;
  for (const Segment& segment : result.segments) {
    for (const Word& word : *segment.words) text += word.word;
  }
  EXPECT_EQ(text, " one two three");
}

TEST_F(WordRecording, AWindowWithoutTextHasNoWords) {
  Recording recording = record(buzz(60, {{0, 60}}));
  ASSERT_TRUE(recording.next_window());
  recording.accept(said({}), from(0));
  ASSERT_TRUE(recording.next_window());
  recording.accept(said({tokens.first_timestamp}), from(0));
  EXPECT_FALSE(recording.next_window());
  EXPECT_TRUE(recording.take().segments.empty());
}

TEST_F(WordRecording, TimesWithoutSilenceAreThoseOfTheFile) {
  setting.speech_filter.emplace().rules.max_speech = 1000000 * kHop;
  // Kept: 9.6 to 14.3 or so, then 49.6 to 54.3.
  Recording recording = record(buzz(80, {{10, 14}, {50, 54}}));
  ASSERT_TRUE(recording.next_window());
  std::vector<int32_t> both = ids(0.4, " one", 4.2);
  const std::vector<int32_t> second = ids(5, " two", 9);
  both.insert(both.end(), second.begin(), second.end());
  // The second word is found to begin where the first one ends, says the alignment.
  const size_t one = tokenizer->encode(" one").size();
  recording.accept(said(both), [one](auto, std::span<const int32_t> text, int64_t) {
    TokenTimes times{{0.5}, std::vector<double>(text.size(), 0.9)};
    for (size_t i = 1; i <= text.size(); ++i) {
      times.at.push_back(i < one ? 0.5 : i == one ? 0.8 : 5.2 + 0.01 * static_cast<double>(i));
    }
    return times;
  });
  EXPECT_FALSE(recording.next_window());
  EXPECT_DOUBLE_EQ(recording.seconds_done(), 80);
  const Transcription result = recording.take();
  EXPECT_DOUBLE_EQ(result.duration, 80);
  EXPECT_NEAR(result.duration_after_vad, 9.2, 0.5);
  ASSERT_EQ(result.segments.size(), 2U);
  EXPECT_NEAR(result.segments[0].start, 10.1, 0.2);
  EXPECT_LT(result.segments[0].end, 15);
  EXPECT_GE(result.segments[1].start, 49.5);
  EXPECT_LT(result.segments[1].end, 55);
  EXPECT_NEAR(result.segments[1].seek, 960, 10);
}

TEST_F(WordRecording, ClipsCountInTheFile) {
  setting.speech_filter.emplace().rules.max_speech = 1000000 * kHop;
  setting.options.clip_timestamps = {20, 70};
  setting.options.word_timestamps = false;
  Recording recording = record(buzz(80, {{10, 14}, {50, 54}}));
  ASSERT_TRUE(recording.next_window());
  recording.accept(said(ids(0.4, " two", 3.8)));
  EXPECT_FALSE(recording.next_window());
  const Transcription result = recording.take();
  ASSERT_EQ(result.segments.size(), 1U);
  EXPECT_NEAR(result.segments[0].start, 49.6, 0.1);  // the window's
}

TEST_F(WordRecording, NoSpeechIsNoWindow) {
  setting.speech_filter.emplace().rules.max_speech = 1000 * kHop;
  Recording recording = record(std::vector<float>(160000, 0.0F));
  EXPECT_FALSE(recording.next_window());
  EXPECT_EQ(recording.take().duration_after_vad, 0);
}

void expect_ascending(const Transcription& result) {
  double last = 0;
  for (const Segment& segment : result.segments) {
    ASSERT_TRUE(segment.words.has_value());
    EXPECT_GE(segment.start, last);
    for (const Word& word : *segment.words) {
      EXPECT_GE(word.start, last);
      EXPECT_GE(word.end, word.start);
      EXPECT_GT(word.probability, 0);
      EXPECT_LE(word.probability, 1);
      last = word.end;
    }
    EXPECT_EQ(segment.end, last);
  }
}

// What a random model says is no text, but every part of the engine runs on it.
TEST(WordEngine, EverythingAtOnce) {
  const TemporaryFolder folder;
  write_random_whisper(folder.path() / "model", {.multilingual = true});
  Engine engine((folder.path() / "model").string(), {});
  TranscribeOptions options;
  options.language = "ja";
  options.word_timestamps = true;
  options.temperatures = {0};
  options.no_speech_threshold = 1;
  const std::vector<float> samples = buzz(9, {{1, 3}, {6, 8.5}});
  for (const bool vad : {false, true}) {
    for (const bool bare : {false, true}) {
      for (const double threshold : {-1.0, 0.0, 1.0}) {
        options.vad_filter = vad;
        options.vad.min_silence_duration_ms = 500;
        options.without_timestamps = bare;
        options.hallucination_silence_threshold.reset();
        if (threshold >= 0) options.hallucination_silence_threshold = threshold;
        const Transcription result = engine.transcribe_samples(samples, options);
        EXPECT_TRUE(threshold >= 0 || !result.segments.empty());
        expect_ascending(result);
      }
    }
  }
  options.hallucination_silence_threshold.reset();
  EXPECT_TRUE(engine.transcribe_samples({}, options).segments.empty());
  EXPECT_TRUE(engine.transcribe_samples(std::vector<float>(100, 0.1F), options).segments.empty());
}

TEST(WordEngine, OptionsThatCannotBeServedAreRefused) {
  const TemporaryFolder folder;
  write_random_whisper(folder.path() / "model", {});
  Engine engine((folder.path() / "model").string(), {});
  const auto refused = [&](void (*set)(TranscribeOptions&), const char* about) {
    TranscribeOptions options;
    set(options);
    try {
      engine.transcribe_samples({}, options);
      FAIL() << about;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::bad_request);
      EXPECT_NE(std::string(error.what()).find(about), std::string::npos) << error.what();
    }
  };
  refused([](auto& o) { o.hallucination_silence_threshold = 2; }, "hallucination");
  refused([](auto& o) { o.vad.threshold = 1.5; }, "vad threshold");
  refused([](auto& o) { o.vad.neg_threshold = 0.6; }, "neg_threshold");
  refused([](auto& o) { o.vad.speech_pad_ms = -1; }, "speech_pad_ms");
  refused([](auto& o) { o.vad.max_speech_duration_s = 0.8; }, "max_speech_duration_s");
  refused([](auto& o) { o.vad.max_speech_duration_s = std::nan(""); }, "max_speech_duration_s");
}

}  // namespace
}  // namespace slim
