// Tracks: where files are cut, and how what was heard comes together, with made-up window results.
#include "engine/track.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace slim {
namespace {

struct Loud {
  double begin;
  double end;
};

class TrackTest : public testing::Test {
 protected:
  void SetUp() override {
    tokenizer = Tokenizer::load(SLIM_TEST_DATA "/golden/text/tiny_whisper_tokenizer.json");
    tokens = speech_tokens(*tokenizer, false);
    setting.tokenizer = tokenizer.get();
    setting.tokens = &tokens;
    setting.task = tokens.transcribe;
    setting.options.batched = true;
  }

  // Faint noise, and a loud tone in the stretches given.
  static std::vector<float> sound(double seconds, const std::vector<Loud>& loud) {
    std::vector<float> samples(static_cast<size_t>(seconds * kSampleRate));
    uint32_t state = 1;
    for (float& sample : samples) {
      state = state * 1664525 + 1013904223;
      sample = 1e-4F * (static_cast<float>(state >> 8) / static_cast<float>(1 << 24) - 0.5F);
    }
    for (const Loud& one : loud) {
      const auto end = std::min(samples.size(), static_cast<size_t>(one.end * kSampleRate));
      for (auto i = static_cast<size_t>(one.begin * kSampleRate); i < end; ++i) {
        const auto t = static_cast<float>(i);
        samples[i] += 0.3F * std::sin(0.2F * t) * std::sin(0.51F * t) + 0.1F * std::sin(0.05F * t);
      }
    }
    return samples;
  }
  Track track(const std::vector<float>& samples) {
    return Track({}, AudioReader::from_samples(samples, "made up"), 80, setting);
  }

  int32_t at(double seconds) const {
    return tokens.first_timestamp + static_cast<int32_t>(std::lround(seconds / 0.02));
  }
  // Says a word from `begin` to `end`, by the window's clock.
  WindowResult said(const std::string& word, double begin, double end) const {
    WindowResult result;
    result.tokens = tokenizer->encode(word);
    result.tokens.insert(result.tokens.begin(), at(begin));
    result.tokens.push_back(at(end));
    result.avg_logprob = -0.2;
    return result;
  }

  std::shared_ptr<const Tokenizer> tokenizer;
  SpeechTokens tokens;
  TranscriptionSetting setting;
};

TEST_F(TrackTest, ChunksEndAtTheQuietestMoment) {
  Track cut = track(sound(70, {{0, 24}, {24.6, 50}, {50.4, 70}}));
  std::vector<double> ends;
  while (Recording* const chunk = cut.next()) {
    ends.push_back(static_cast<double>(chunk->clips().front().end) / kFramesPerSecond);
    chunk->accept(said(" one", 0, 40));
    EXPECT_FALSE(chunk->next_window());
    cut.finish(chunk);
  }
  ASSERT_EQ(ends.size(), 3U);
  EXPECT_NEAR(ends[0], 24.3, 0.25);
  EXPECT_NEAR(ends[1], 50.2, 0.15);
  EXPECT_EQ(ends[2], 70);
  EXPECT_TRUE(cut.finished());
  EXPECT_EQ(cut.seconds_done(), 70);
  const Transcription result = cut.take();
  ASSERT_EQ(result.segments.size(), 3U);
  double last = 0;
  for (size_t i = 0; i < 3; ++i) {
    const Segment& segment = result.segments[i];
    EXPECT_EQ(segment.id, static_cast<int>(i) + 1);
    EXPECT_EQ(segment.start, last);
    EXPECT_DOUBLE_EQ(segment.end, ends[i]);  // not 40 s after its start
    last = segment.end;
  }
}

TEST_F(TrackTest, ChunksThatEndInAnotherOrderComeTogetherInTime) {
  Track cut = track(sound(80, {{0, 28}, {29, 57}, {58, 80}}));
  std::vector<Recording*> chunks;
  while (Recording* const chunk = cut.next()) chunks.push_back(chunk);
  ASSERT_EQ(chunks.size(), 3U);
  EXPECT_FALSE(cut.finished());
  chunks[2]->accept(said(" three", 0, 5));
  cut.finish(chunks[2]);
  chunks[1]->accept(said(" two", 0, 5));
  cut.finish(chunks[1]);
  EXPECT_EQ(cut.seconds_done(), 0);
  chunks[0]->accept(said(" one", 0, 5));
  cut.finish(chunks[0]);
  EXPECT_TRUE(cut.finished());
  EXPECT_EQ(cut.take().text(), "one two three");
}

TEST_F(TrackTest, ChunksOfSpeechAreWholeStretches) {
  setting.options.vad_filter = true;
  SpeechFilter filter;
  filter.rules.min_silence = 16 * kHop;
  filter.rules.max_speech = 2920 * kHop;
  setting.speech_filter = filter;
  Track cut = track(sound(100, {{2, 12}, {20, 34}, {50, 68}, {80, 84}}));
  std::vector<Recording*> chunks;
  while (Recording* const chunk = cut.next()) chunks.push_back(chunk);
  ASSERT_EQ(chunks.size(), 2U);  // 10.8 + 14.8 s, 18.8 + 4.8 s
  for (Recording* const chunk : chunks) {
    chunk->accept(said(" heard", 0, 10));
    cut.finish(chunk);
  }
  const Transcription result = cut.take();
  ASSERT_EQ(result.segments.size(), 2U);
  EXPECT_NEAR(result.segments[0].start, 2 - 0.4, 0.1);
  EXPECT_NEAR(result.segments[1].start, 50 - 0.4, 0.1);
  EXPECT_NEAR(result.duration_after_vad, 49.2, 0.5);
}

TEST_F(TrackTest, ARestIsHeardAgainUnlessItIsShort) {
  Track cut = track(sound(20, {{0, 20}}));
  Recording* const chunk = cut.next();
  ASSERT_NE(chunk, nullptr);
  const WindowRequest request = chunk->request(nullptr);
  EXPECT_EQ(request.whole_before, (2000 - 50) / 2);
  WindowResult pair = said(" one", 0, 12);
  pair.tokens.push_back(at(12));
  chunk->accept(pair);
  ASSERT_TRUE(chunk->next_window());
  EXPECT_EQ(chunk->request(nullptr).whole_before, (800 - 50) / 2);
  WindowResult late = said(" two", 0, 7.6);
  late.tokens.push_back(at(7.6));
  chunk->accept(late);
  EXPECT_FALSE(chunk->next_window());
  cut.finish(chunk);
  const Transcription result = cut.take();
  ASSERT_EQ(result.segments.size(), 2U);
  EXPECT_DOUBLE_EQ(result.segments[1].start, 12);
  EXPECT_DOUBLE_EQ(result.segments[1].end, 19.6);
}

TEST_F(TrackTest, NoTextCrossesChunksButThePromptStandsBeforeEach) {
  setting.initial_prompt = tokenizer->encode(" hello");
  setting.prefix = tokenizer->encode(" so");
  Track cut = track(sound(50, {{0, 28}, {29, 50}}));
  Recording* const first = cut.next();
  EXPECT_EQ(first->request(nullptr).begun.size(), 1 + setting.prefix.size());
  first->accept(said(" one", 0, 5));
  Recording* const second = cut.next();
  ASSERT_NE(second, nullptr);
  const WindowRequest request = second->request(nullptr);
  EXPECT_TRUE(request.begun.empty());
  ASSERT_EQ(request.prompt.size(), 2 + setting.initial_prompt.size());
  EXPECT_TRUE(std::equal(setting.initial_prompt.begin(), setting.initial_prompt.end(),
                         request.prompt.begin() + 1));
}

TEST_F(TrackTest, ClipsAreCutEachByItself) {
  setting.options.clip_timestamps = {5, 20, 40, 75};
  Track cut = track(sound(80, {{0, 80}}));
  std::vector<int64_t> bounds;
  while (Recording* const chunk = cut.next()) {
    bounds.push_back(chunk->clips().front().begin);
    bounds.push_back(chunk->clips().front().end);
  }
  ASSERT_EQ(bounds.size(), 6U);
  EXPECT_EQ(bounds[0], 500);
  EXPECT_EQ(bounds[1], 2000);
  EXPECT_EQ(bounds[2], 4000);
  EXPECT_EQ(bounds[3], bounds[4]);
  EXPECT_LE(bounds[3], 7000);
  EXPECT_EQ(bounds[5], 7500);
}

TEST_F(TrackTest, DigitalSilenceIsNoChunk) {
  Track silent = track(std::vector<float>(static_cast<size_t>(100 * kSampleRate), 0.0F));
  EXPECT_EQ(silent.next(), nullptr);
  EXPECT_TRUE(silent.finished());
  EXPECT_EQ(silent.seconds_done(), 100);
  for (const size_t samples : {0U, 1U, 159U}) {
    Track tiny = track(std::vector<float>(samples, 0.5F));
    EXPECT_EQ(tiny.next(), nullptr);
    EXPECT_TRUE(tiny.take().segments.empty());
  }
}

TEST_F(TrackTest, ATrackThatIsNotBatchedIsOneChunk) {
  setting.options.batched = false;
  Track whole = track(sound(50, {{0, 50}}));
  Recording* const chunk = whole.next();
  ASSERT_NE(chunk, nullptr);
  EXPECT_EQ(chunk->request(nullptr).whole_before, 0);
  EXPECT_EQ(whole.next(), nullptr);
  EXPECT_FALSE(whole.finished());
  chunk->accept(said(" one", 0, 5));
  EXPECT_TRUE(chunk->next_window());
  chunk->accept(said(" two", 0, 5));
  whole.finish(chunk);
  EXPECT_TRUE(whole.finished());
  EXPECT_EQ(whole.take().text(), "one two");
}

TEST(Quietest, IsTheLatestOfEquals) {
  const std::vector<float> flat(60, 1.0F);
  EXPECT_EQ(quietest(flat, 2, {10, 20}, 3), 19);
  std::vector<float> dip = flat;
  for (size_t i = 2 * 12; i < 2 * 15; ++i) dip[i] = 0;
  EXPECT_NEAR(static_cast<double>(quietest(dip, 2, {5, 25}, 2)), 13.5, 1);
}

}  // namespace
}  // namespace slim
