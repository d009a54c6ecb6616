// Models that hear samples and have no timestamps, over the golden tiny Moonshine model and what
// Transformers makes of it: pieces of at most 30 s, each a segment; what such a model cannot do is
// refused.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "engine/noise.h"
#include "error_matchers.h"
#include "models/golden.h"
#include "slim/slim.h"
#include "temporary_folder.h"

namespace slim {
namespace {

namespace fs = std::filesystem;

fs::path model_path() { return fs::path(SLIM_TEST_DATA) / "golden" / "moonshine" / "tied"; }

class PlainModelTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { engine = new Engine(model_path().string(), {}); }
  static void TearDownTestSuite() { delete engine; }

  static TranscribeOptions greedy(int batch_size = 1) {
    TranscribeOptions options;
    options.temperatures = {0};
    options.beam_size = 1;
    options.batch_size = batch_size;
    return options;
  }
  static std::vector<Segment> heard(const std::vector<float>& samples,
                                    const TranscribeOptions& options) {
    return engine->transcribe_samples(samples, options).segments;
  }
  static std::vector<float> joined(std::initializer_list<std::vector<float>> parts) {
    std::vector<float> all;
    for (const std::vector<float>& part : parts) all.insert(all.end(), part.begin(), part.end());
    return all;
  }
  static std::vector<float> silence(size_t seconds) {
    return std::vector<float>(seconds * 16000, 0.0F);
  }

  static Engine* engine;
};
Engine* PlainModelTest::engine = nullptr;

TEST_F(PlainModelTest, WritesWhatTransformersWrites) {
  const test::Spoken spoken = test::read_spoken(model_path() / "expected");
  auto rest = std::span<const float>(spoken.samples);
  for (size_t i = 0; i < spoken.lengths.size(); ++i) {
    const auto count = static_cast<size_t>(spoken.lengths[i]);
    const std::vector<float> window(rest.begin(), rest.begin() + static_cast<ptrdiff_t>(count));
    rest = rest.subspan(count);
    const std::vector<Segment> segments = heard(window, greedy());
    ASSERT_EQ(segments.size(), 1U);
    const Segment& segment = segments.front();
    const double seconds = static_cast<double>(count / 160) / 100;
    const auto most = std::max<size_t>(1, static_cast<size_t>(6.5 * seconds));
    std::vector<int32_t> expected = spoken.greedy[i];
    expected.resize(most);
    EXPECT_EQ(segment.tokens, expected) << count << " samples";
    EXPECT_EQ(segment.start, 0);
    EXPECT_DOUBLE_EQ(segment.end, seconds);
    EXPECT_EQ(segment.text.front(), ' ');
    EXPECT_EQ(segment.no_speech_prob, 0);
  }
}

TEST_F(PlainModelTest, HasAsManyTokensAsItIsTold) {
  TranscribeOptions options = greedy();
  options.max_tokens = 9;
  const std::vector<Segment> segments = heard(noise(16000, 1), options);
  ASSERT_EQ(segments.size(), 1U);
  EXPECT_EQ(segments.front().tokens.size(), 9U);
  options.max_tokens = 1000;  // where the positions end
  EXPECT_EQ(heard(noise(16000, 1), options).front().tokens.size(), 80U);
}

TEST_F(PlainModelTest, CutsLongSoundIntoSegmentsThatFollowEachOther) {
  const std::vector<float> samples = noise(100 * 16000 + 77, 3);
  const std::vector<Segment> segments = heard(samples, greedy());
  ASSERT_GE(segments.size(), 4U);
  double last = 0;
  for (size_t i = 0; i < segments.size(); ++i) {
    EXPECT_EQ(segments[i].id, static_cast<int>(i) + 1);
    EXPECT_EQ(segments[i].start, last);
    EXPECT_LE(segments[i].end - segments[i].start, 30);
    last = segments[i].end;
  }
  EXPECT_DOUBLE_EQ(last, 100);
  // Windows of unequal lengths side by side.
  for (const int batch : {3, 16}) {
    const std::vector<Segment> together = heard(samples, greedy(batch));
    ASSERT_EQ(together.size(), segments.size());
    for (size_t i = 0; i < segments.size(); ++i) {
      EXPECT_EQ(together[i].tokens, segments[i].tokens) << i;
      EXPECT_EQ(together[i].start, segments[i].start) << i;
      EXPECT_NEAR(together[i].avg_logprob, segments[i].avg_logprob, 1e-4) << i;
    }
  }
}

TEST_F(PlainModelTest, LeavesSilenceOut) {
  const std::vector<float> samples = joined(
      {silence(3), noise(32000, 1), silence(5), noise(32000, 2), silence(40), noise(32000, 3)});
  TranscribeOptions options = greedy();
  options.vad_filter = true;
  const std::vector<Segment> segments = heard(samples, options);
  const double begins[] = {3, 10, 52};
  ASSERT_EQ(segments.size(), 3U);  // a stretch of speech each
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_NEAR(segments[i].start, begins[i], 0.5);
    EXPECT_NEAR(segments[i].end, begins[i] + 2, 0.5);
    EXPECT_LE(segments[i].tokens.size(), 20U);  // 6.5 a second
  }
}

TEST_F(PlainModelTest, HearsOddSounds) {
  for (const size_t count : {size_t{0}, size_t{1}, size_t{159}}) {
    EXPECT_TRUE(heard(noise(count, 1), greedy()).empty()) << count;
  }
  EXPECT_TRUE(heard(silence(65), greedy()).empty());
  // Shorter than what one row hears.
  for (const size_t count : {size_t{160}, size_t{894}, size_t{895}}) {
    const std::vector<Segment> segments = heard(noise(count, 1), greedy());
    ASSERT_EQ(segments.size(), 1U) << count;
    EXPECT_EQ(segments.front().tokens.size(), 1U);
  }
  std::vector<float> bad = noise(16000, 1);
  bad[500] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(fails_with(ErrorCode::bad_file, {"0.031"}, [&] { heard(bad, greedy()); }));
}

TEST_F(PlainModelTest, SamplesAndBeamsAreThereToo) {
  TranscribeOptions options = greedy();
  options.beam_size = 4;
  EXPECT_FALSE(heard(noise(32000, 1), options).empty());
  options.temperatures = {0.7};
  options.best_of = 3;
  const std::vector<Segment> once = heard(noise(32000, 1), options);
  const std::vector<Segment> again = heard(noise(32000, 1), options);
  ASSERT_FALSE(once.empty());
  EXPECT_EQ(once.front().tokens, again.front().tokens);
}

TEST_F(PlainModelTest, HearsSoundThatIsComingIn) {
  std::vector<float> restless = noise(70 * 16000, 3);  // steady noise is no speech
  for (size_t at = 20000; at + 4000 <= restless.size(); at += 24000) {
    std::fill_n(restless.begin() + static_cast<ptrdiff_t>(at), 4000, 0.0F);
  }
  const std::vector<float> samples =
      joined({silence(2), noise(24000, 1), silence(4), noise(24000, 2), silence(2), restless});
  LiveOptions options;
  options.transcribe = greedy();
  LiveTranscription live(*engine, options);
  std::vector<Segment> all;
  size_t early = 0;  // final before the long noise
  const auto take = [&](const LiveUpdate& update) {
    all.insert(all.end(), update.segments.begin(), update.segments.end());
  };
  for (size_t at = 0; at < samples.size(); at += 8000) {
    const size_t count = std::min<size_t>(8000, samples.size() - at);
    if (const auto update = live.push(std::span(samples).subspan(at, count))) take(*update);
    EXPECT_LE(live.held_samples(), 30 * 16000 + 8000);
    if (at <= size_t{7} * 16000) early = all.size();
  }
  take(live.finish());
  EXPECT_GE(early, 1U);
  ASSERT_GE(all.size(), 4U);
  EXPECT_NEAR(all.front().start, 2, 0.5);
  double last = 0;
  for (const Segment& segment : all) {
    EXPECT_GE(segment.start, last);
    EXPECT_GE(segment.end, segment.start);
    last = segment.end;
  }
  EXPECT_NEAR(last, 81, 0.5);
  EXPECT_EQ(live.language(), "");
}

TEST_F(PlainModelTest, RefusesWhatItCannotDo) {
  const auto refused = [&](const char* option, auto&& change) {
    TranscribeOptions options = greedy();
    change(options);
    EXPECT_TRUE(fails_with(ErrorCode::bad_request, {option, "This model"}, [&] {
      heard(noise(16000, 1), options);
    })) << option;
  };
  refused("task", [](auto& options) { options.task = "translate"; });
  refused("language", [](auto& options) { options.language = "en"; });
  refused("word_timestamps", [](auto& options) { options.word_timestamps = true; });
  refused("max_initial_timestamp", [](auto& options) { options.max_initial_timestamp = 2; });
  refused("initial_prompt", [](auto& options) { options.initial_prompt = "a"; });
  refused("hotwords", [](auto& options) { options.hotwords = "a"; });
  refused("prefix", [](auto& options) { options.prefix = "a"; });
  refused("no_speech_threshold", [](auto& options) { options.no_speech_threshold = 0.1; });
  EXPECT_TRUE(fails_with(ErrorCode::bad_request, {"languages"},
                         [&] { engine->detect_languages({"any.wav"}, greedy()); }));
}

TEST_F(PlainModelTest, IsVerifiedMeasuredAndInspected) {
  const TemporaryFolder folder;
  write_wav(folder.path() / "noise.wav", noise(3 * 16000, 1));
  const Verification verified = engine->verify((folder.path() / "noise.wav").string(), greedy());
  EXPECT_GT(verified.tokens, 10);
  EXPECT_LT(verified.kl_mean, 1e-3);
  EXPECT_EQ(verified.top1, 1);
  const std::vector<BenchRow> rows = engine->bench({.batches = {1, 2}, .tokens = 3, .repeats = 1});
  EXPECT_EQ(rows.size(), 8U);  // kv in f32 and bf16, slim in f32 and as planned
  const Inspection inspection = inspect(model_path().string(), {});
  EXPECT_EQ(inspection.family, "moonshine");
  EXPECT_EQ(inspection.encoder_positions, 1248);
  EXPECT_EQ(inspection.decoder_positions, 80);
  // 20 pages of encoder rows, shared by the layers, and a full page and a begun one of keys.
  EXPECT_LT(inspection.context.slim, inspection.context.kv);
}

}  // namespace
}  // namespace slim
