// Files cut into chunks that are decoded side by side, over a tiny random model: what must hold
// whatever the weights. Where files are cut is track_test.cpp's.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <thread>

#include "audio/audio_reader.h"
#include "engine/noise.h"
#include "engine/random_whisper.h"
#include "slim/slim.h"
#include "temporary_folder.h"

namespace slim {
namespace {

class BatchedTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder = new TemporaryFolder;
    RandomWhisper multilingual;
    multilingual.multilingual = true;
    write_random_whisper(folder->path() / "model", multilingual);
    engine = new Engine((folder->path() / "model").string(), {});
    write_wav(path("long"), bursts(25, 1));
    write_wav(path("short"), bursts(8, 2));
    write_wav(path("silent"), std::vector<float>(16000, 0.0F));
    write_wav(path("one"), std::vector<float>(1, 0.1F));
  }
  static void TearDownTestSuite() {
    delete engine;
    delete folder;
  }

  static std::string path(const std::string& name) {
    return (folder->path() / (name + ".wav")).string();
  }
  // Noise with a silent second after every four.
  static std::vector<float> bursts(size_t seconds, uint32_t seed) {
    std::vector<float> samples = noise(seconds * 16000, seed);
    for (size_t second = 4; second < seconds; second += 5) {
      std::fill_n(samples.begin() + static_cast<ptrdiff_t>(second * 16000), 16000, 0.0F);
    }
    return samples;
  }
  static TranscribeOptions batched(int size) {
    TranscribeOptions options;
    options.batched = true;
    options.batch_size = size;
    options.language = "en";
    options.temperatures = {0};
    options.beam_size = 2;
    options.max_tokens = 8;
    return options;
  }
  static void expect_ordered(const Transcription& result) {
    double last = 0;
    for (size_t i = 0; i < result.segments.size(); ++i) {
      const Segment& segment = result.segments[i];
      EXPECT_EQ(segment.id, static_cast<int>(i) + 1);
      EXPECT_GE(segment.start, last);
      EXPECT_GE(segment.end, segment.start);
      if (segment.words) {
        for (const Word& word : *segment.words) {
          EXPECT_GE(word.start, last);
          EXPECT_GE(word.end, word.start);
          last = word.end;
        }
      }
      last = segment.end;
    }
    EXPECT_LE(last, result.duration);
  }
  static std::vector<std::vector<int32_t>> tokens_of(const Transcription& result) {
    std::vector<std::vector<int32_t>> all;
    for (const Segment& segment : result.segments) all.push_back(segment.tokens);
    return all;
  }

  static TemporaryFolder* folder;
  static Engine* engine;
};
TemporaryFolder* BatchedTest::folder = nullptr;
Engine* BatchedTest::engine = nullptr;

TEST_F(BatchedTest, ChunksTogetherEqualChunksAlone) {
  const Transcription alone = engine->transcribe({path("long")}, batched(1)).front();
  const Transcription together = engine->transcribe({path("long")}, batched(3)).front();
  expect_ordered(together);
  ASSERT_GE(together.segments.size(), 3U);
  EXPECT_EQ(tokens_of(together), tokens_of(alone));
  EXPECT_EQ(together.duration, 25);
}

TEST_F(BatchedTest, ChunksOfSeveralFilesAreDecodedTogether) {
  const std::vector<std::string> paths = {path("short"), path("silent"), path("long"), path("one"),
                                          path("short")};
  TranscribeOptions options = batched(4);
  std::vector<size_t> done;
  options.on_result = [&](size_t file, const Transcription&) { done.push_back(file); };
  Stats stats;
  const auto results = engine->transcribe(paths, options, &stats);
  ASSERT_EQ(results.size(), paths.size());
  for (size_t i = 0; i < paths.size(); ++i) {
    const Transcription alone = engine->transcribe({paths[i]}, batched(1)).front();
    EXPECT_EQ(tokens_of(results[i]), tokens_of(alone)) << paths[i];
    expect_ordered(results[i]);
  }
  EXPECT_TRUE(results[1].segments.empty());
  std::sort(done.begin(), done.end());
  EXPECT_EQ(done, (std::vector<size_t>{0, 1, 2, 3, 4}));
}

TEST_F(BatchedTest, EveryOptionWorksInIt) {
  using Change = void (*)(TranscribeOptions&);
  const Change changes[] = {
      [](TranscribeOptions& o) { o.word_timestamps = true; },
      [](TranscribeOptions& o) {
        o.word_timestamps = true;
        o.hallucination_silence_threshold = 0.5;
        o.vad_filter = true;
      },
      [](TranscribeOptions& o) { o.vad_filter = true; },
      [](TranscribeOptions& o) { o.vad.max_speech_duration_s = 1, o.vad_filter = true; },
      [](TranscribeOptions& o) { o.without_timestamps = true; },
      [](TranscribeOptions& o) {
        o.clip_timestamps = {3, 6.5, 14, 24};
      },
      [](TranscribeOptions& o) {
        o.clip_timestamps = {3, 3, 100, 101};
      },
      [](TranscribeOptions& o) { o.language.clear(); },
      [](TranscribeOptions& o) { o.task = "translate"; },
      [](TranscribeOptions& o) {
        o.temperatures = {0, 0.5}, o.logprob_threshold = 0;
      },
      [](TranscribeOptions& o) { o.initial_prompt = "a", o.prefix = "b", o.hotwords = "c"; },
  };
  int number = 0;
  for (const Change change : changes) {
    SCOPED_TRACE(number++);
    TranscribeOptions options = batched(8);
    change(options);
    expect_ordered(engine->transcribe({path("long")}, options).front());
  }
}

TEST_F(BatchedTest, TheLanguageIsThatOfTheFirstChunk) {
  TranscribeOptions options = batched(3);
  options.language.clear();
  const Transcription result = engine->transcribe({path("long")}, options).front();
  const Transcription detected = engine->detect_languages({path("long")}, options).front();
  EXPECT_EQ(result.language, detected.language);
  EXPECT_NEAR(result.language_probability, detected.language_probability, 1e-5);
  EXPECT_GT(result.language_probability, 0);
}

TEST_F(BatchedTest, AFileThatCannotBeReadIsReportedAndTheOthersGoOn) {
  TranscribeOptions options = batched(4);
  const std::vector<std::string> paths = {path("short"), path("nowhere"), path("long")};
  EXPECT_THROW(engine->transcribe(paths, options), Error);
  std::vector<size_t> failed;
  options.on_failure = [&](size_t file, const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::bad_file);
    failed.push_back(file);
  };
  const auto results = engine->transcribe(paths, options);
  ASSERT_EQ(results.size(), 3U);
  EXPECT_EQ(failed, std::vector<size_t>{1});
  EXPECT_FALSE(results[0].segments.empty());
  EXPECT_TRUE(results[1].segments.empty());
  EXPECT_FALSE(results[2].segments.empty());
}

TEST_F(BatchedTest, ItStopsWithWhatThereIs) {
  TranscribeOptions options = batched(1);
  options.on_progress = [](size_t, double done, double) { return done < 8; };
  const Transcription part = engine->transcribe({path("long")}, options).front();
  const Transcription whole = engine->transcribe({path("long")}, batched(1)).front();
  expect_ordered(part);
  EXPECT_FALSE(part.segments.empty());
  EXPECT_LT(part.segments.size(), whole.segments.size());
}

// Run under the thread sanitizer too.
TEST_F(BatchedTest, EightStreamsAtOnceDoNotDisturbEachOther) {
  std::vector<TranscribeOptions> options(8, batched(3));
  options[1].batched = false;
  options[2].word_timestamps = true;
  options[3].vad_filter = true;
  options[4].temperatures = {0.4, 0.8};  // sampled
  options[5].language = "";              // detected
  options[6].split_channels = true;
  options[7].beam_size = 4;
  std::vector<std::vector<std::vector<int32_t>>> expected;
  for (const TranscribeOptions& one : options) {
    expected.push_back(tokens_of(engine->transcribe({path("long")}, one).front()));
  }
  std::vector<std::vector<std::vector<int32_t>>> heard(8);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < heard.size(); ++i) {
    threads.emplace_back(
        [&, i] { heard[i] = tokens_of(engine->transcribe({path("long")}, options[i]).front()); });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < heard.size(); ++i) EXPECT_EQ(heard[i], expected[i]) << i;
}

// A minute and a half of speech, three times the same: each time all of it is heard, where it is.
TEST(RealBatched, HearsAllOfALongFile) {
  const std::string model = SLIM_MODELS "/whisper-tiny.en";
  const std::string audio = SLIM_MODELS "/speech/librivox.wav";
  if (!std::filesystem::exists(model) || !std::filesystem::exists(audio)) {
    GTEST_SKIP() << "tools/fetch_models.sh fetches " << model;
  }
  std::vector<float> once(40 * 16000);
  once.resize(static_cast<size_t>(AudioReader::open(audio)->read(once)));
  std::vector<float> samples;
  for (int i = 0; i < 3; ++i) samples.insert(samples.end(), once.begin(), once.end());
  Engine real(model, {});
  for (const bool vad : {false, true}) {
    TranscribeOptions options;
    options.batched = true;
    options.batch_size = 8;
    options.beam_size = 1;
    options.vad_filter = vad;
    options.word_timestamps = true;
    const Transcription heard = real.transcribe_samples(samples, options);
    std::vector<double> times;
    for (const Segment& segment : heard.segments) {
      for (const Word& word : *segment.words) {
        if (word.word.find("amiable") != std::string::npos) times.push_back(word.start);
      }
    }
    ASSERT_EQ(times.size(), 6U) << heard.text();
    const double length = static_cast<double>(once.size()) / 16000;
    for (size_t i = 2; i < times.size(); ++i) EXPECT_NEAR(times[i] - times[i - 2], length, 0.5);
    for (const char* words : {"leisure to consider", "respectable than he was"}) {
      size_t count = 0;
      const std::string text = heard.text();
      for (size_t at = text.find(words); at != std::string::npos; at = text.find(words, at + 1)) {
        ++count;
      }
      EXPECT_EQ(count, 3U) << words << " in " << text;
    }
  }
}

}  // namespace
}  // namespace slim
