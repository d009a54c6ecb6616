// Live transcription over a tiny random model: bounds, order, independence of how samples come; and
// over a real one, where it is there.
#include <gtest/gtest.h>

#include <filesystem>
#include <limits>

#include "audio/audio_reader.h"
#include "engine/noise.h"
#include "engine/random_whisper.h"
#include "slim/slim.h"
#include "temporary_folder.h"

namespace slim {
namespace {

class LiveTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder = new TemporaryFolder;
    write_random_whisper(folder->path() / "model", {});
    engine = new Engine((folder->path() / "model").string(), {});
  }
  static void TearDownTestSuite() {
    delete engine;
    delete folder;
  }
  static LiveOptions options() {
    LiveOptions live;
    live.transcribe.temperatures = {0};
    live.transcribe.beam_size = 2;
    live.transcribe.max_tokens = 12;
    live.step_seconds = 0.5;
    return live;
  }
  // Pushes pieces of this many samples; all final segments.
  static std::vector<Segment> heard(LiveTranscription& live, const std::vector<float>& samples,
                                    size_t piece) {
    std::vector<Segment> all;
    const auto take = [&](LiveUpdate update) {
      all.insert(all.end(), update.segments.begin(), update.segments.end());
    };
    for (size_t at = 0; at < samples.size(); at += piece) {
      const size_t count = std::min(piece, samples.size() - at);
      if (auto update = live.push(std::span(samples).subspan(at, count))) take(*update);
      EXPECT_LT(live.held_samples(), 32000 + static_cast<int64_t>(piece));
    }
    const LiveUpdate last = live.finish();
    EXPECT_EQ(last.partial, "");
    EXPECT_DOUBLE_EQ(last.seconds, static_cast<double>(samples.size()) / 16000);
    take(last);
    return all;
  }

  static TemporaryFolder* folder;
  static Engine* engine;
};
TemporaryFolder* LiveTest::folder = nullptr;
Engine* LiveTest::engine = nullptr;

TEST_F(LiveTest, MemoryIsBoundedAndTimesNeverDecrease) {
  for (const bool words : {false, true}) {
    LiveOptions chosen = options();
    chosen.transcribe.word_timestamps = words;
    LiveTranscription live(*engine, chosen);
    const std::vector<Segment> segments = heard(live, noise(20 * 16000, 3), 1000);
    ASSERT_GE(segments.size(), 5U);
    double last = 0;
    for (size_t i = 0; i < segments.size(); ++i) {
      EXPECT_EQ(segments[i].id, static_cast<int>(i) + 1);
      EXPECT_GE(segments[i].start, last);
      EXPECT_GE(segments[i].end, segments[i].start);
      last = segments[i].end;
    }
    EXPECT_LE(last, 20.01);
    EXPECT_EQ(live.language(), "en");
  }
}

TEST_F(LiveTest, AnyNumberOfSamplesCanBePushed) {
  for (const size_t count : {size_t{0}, size_t{1}, size_t{159}, size_t{401}, size_t{90000}}) {
    LiveTranscription live(*engine, options());
    heard(live, noise(count, 5), std::max<size_t>(1, count));
  }
  LiveTranscription silent(*engine, options());
  EXPECT_TRUE(heard(silent, std::vector<float>(200000, 0.0F), 4000).empty());
}

TEST_F(LiveTest, WhatIsNotSoundIsRefusedAndNotTaken) {
  LiveTranscription live(*engine, options());
  live.push(noise(1000, 1));
  std::vector<float> bad = noise(1000, 2);
  bad[500] = std::numeric_limits<float>::quiet_NaN();
  try {
    live.push(bad);
    ADD_FAILURE() << "no Error";
  } catch (const Error& error) {
    EXPECT_NE(error.text().find("0.09375 s"), std::string::npos) << error.text();
  }
  EXPECT_EQ(live.held_samples(), 1000);
  live.finish();
  EXPECT_THROW(live.push(noise(10, 1)), Error);
  EXPECT_TRUE(live.finish().segments.empty());
}

TEST_F(LiveTest, OptionsThatNeedAllSoundAreRefused) {
  using Change = void (*)(LiveOptions&);
  for (const Change change :
       {Change([](LiveOptions& o) { o.transcribe.batched = true; }),
        Change([](LiveOptions& o) { o.transcribe.vad_filter = true; }),
        Change([](LiveOptions& o) { o.transcribe.split_channels = true; }),
        Change([](LiveOptions& o) { o.transcribe.clip_timestamps = {1}; }),
        Change([](LiveOptions& o) { o.transcribe.without_timestamps = true; }),
        Change([](LiveOptions& o) { o.transcribe.beam_size = 0; }),
        Change([](LiveOptions& o) { o.step_seconds = 0; }),
        Change([](LiveOptions& o) { o.step_seconds = std::nan(""); })}) {
    LiveOptions changed = options();
    change(changed);
    EXPECT_THROW(LiveTranscription(*engine, changed), Error);
  }
}

TEST(RealLive, HearsWhatTheFileHolds) {
  const std::string model = SLIM_MODELS "/whisper-tiny.en";
  const std::string audio = SLIM_MODELS "/speech/librivox.wav";
  if (!std::filesystem::exists(model) || !std::filesystem::exists(audio)) {
    GTEST_SKIP() << "tools/fetch_models.sh fetches " << model;
  }
  Engine engine(model, {});
  std::vector<float> samples(40 * 16000);
  samples.resize(static_cast<size_t>(AudioReader::open(audio)->read(samples)));
  LiveOptions live;
  live.transcribe.beam_size = 1;
  LiveTranscription transcription(engine, live);
  std::string text;
  size_t early = 0;
  const auto take = [&](const LiveUpdate& update) {
    for (const Segment& segment : update.segments) text += segment.text;
  };
  for (size_t at = 0; at < samples.size(); at += 8000) {
    const auto piece = std::span(samples).subspan(at, std::min<size_t>(8000, samples.size() - at));
    if (const auto update = transcription.push(piece)) take(*update);
    early = text.size();
  }
  EXPECT_GT(early, 100U) << "text is final before the sound has ended";
  take(transcription.finish());
  for (const char* words : {"leisure to consider", "ill-disposed young man", "cold-hearted",
                            "respectable than he was", "made amiable himself"}) {
    EXPECT_NE(text.find(words), std::string::npos) << words << " in " << text;
  }
}

}  // namespace
}  // namespace slim
