// The public interface over a tiny random model: what must hold whatever the weights.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <thread>

#include "engine/noise.h"
#include "engine/random_whisper.h"
#include "engine/runtime.h"
#include "engine/transcriber.h"
#include "engine/window_decoder.h"
#include "slim/slim.h"
#include "temporary_folder.h"

namespace slim {
namespace {

std::vector<int32_t> tokens_of(const Transcription& transcription) {
  std::vector<int32_t> tokens;
  for (const Segment& segment : transcription.segments) {
    tokens.insert(tokens.end(), segment.tokens.begin(), segment.tokens.end());
  }
  return tokens;
}

class EngineTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder = new TemporaryFolder;
    write_random_whisper(folder->path() / "model", {});
    RandomWhisper multilingual;
    multilingual.multilingual = true;
    write_random_whisper(folder->path() / "multilingual", multilingual);
    for (int i = 0; i < 3; ++i) {
      write_wav(audio(i),
                noise(static_cast<size_t>(40000 + 30000 * i), 11U + static_cast<uint32_t>(i)));
    }
  }
  static void TearDownTestSuite() { delete folder; }

  static std::string model() { return (folder->path() / "model").string(); }
  static std::string audio(int i) {
    return (folder->path() / ("noise" + std::to_string(i) + ".wav")).string();
  }
  static EngineOptions options(const std::string& cache, const std::string& type = "",
                               const std::string& device = "cpu", int threads = 2) {
    EngineOptions chosen;
    chosen.cache = cache;
    chosen.cache_type = type;
    chosen.device = device;
    chosen.threads = threads;
    return chosen;
  }
  template <typename Function>
  static ErrorCode code_of(Function&& function) {
    try {
      function();
    } catch (const Error& error) {
      EXPECT_FALSE(error.text().empty());
      return error.code();
    }
    ADD_FAILURE() << "no Error";
    return ErrorCode::internal;
  }

  static TemporaryFolder* folder;
};
TemporaryFolder* EngineTest::folder = nullptr;

TEST_F(EngineTest, EveryCacheAndDeviceSaysTheSame) {
  Engine reference(model(), options("kv", "f32", "reference"));
  const auto expected = tokens_of(reference.transcribe({audio(0)}, {}).front());
  ASSERT_FALSE(expected.empty());
  for (const std::string& device : devices()) {
    for (const char* cache : {"auto", "kv", "x", "k"}) {
      Engine engine(model(), options(cache, "f32", device));
      EXPECT_EQ(tokens_of(engine.transcribe({audio(0)}, {}).front()), expected)
          << device << ' ' << cache;
    }
  }
}

TEST_F(EngineTest, FilesDecodedTogetherEqualFilesAlone) {
  Engine engine(model(), options("auto"));
  TranscribeOptions together;
  together.batch_size = 3;
  const auto all = engine.transcribe({audio(0), audio(1), audio(2)}, together);
  ASSERT_EQ(all.size(), 3U);
  for (int i = 0; i < 3; ++i) {
    const Transcription alone = engine.transcribe({audio(i)}, {}).front();
    EXPECT_EQ(tokens_of(all[static_cast<size_t>(i)]), tokens_of(alone)) << i;
    EXPECT_DOUBLE_EQ(all[static_cast<size_t>(i)].duration, alone.duration);
  }
}

TEST_F(EngineTest, TwoStreamsAtOnceDoNotDisturbEachOther) {
  Engine engine(model(), options("auto"));
  const auto first = tokens_of(engine.transcribe({audio(1)}, {}).front());
  const auto second = tokens_of(engine.transcribe({audio(2)}, {}).front());
  for (int round = 0; round < 2; ++round) {
    std::vector<int32_t> in_thread;
    std::thread other([&] { in_thread = tokens_of(engine.transcribe({audio(1)}, {}).front()); });
    const auto here = tokens_of(engine.transcribe({audio(2)}, {}).front());
    other.join();
    EXPECT_EQ(in_thread, first);
    EXPECT_EQ(here, second);
  }
}

TEST_F(EngineTest, AnyLengthOfSamplesWorks) {
  Engine engine(model(), options("auto"));
  for (const size_t samples : {0U, 1U, 159U, 399U, 400U, 480001U}) {
    const Transcription result = engine.transcribe_samples(noise(samples, 5), {});
    EXPECT_NEAR(result.duration, static_cast<double>(samples) / 16000, 1e-9);
    if (samples < 160) {
      EXPECT_TRUE(result.segments.empty());
    }
  }
}

TEST_F(EngineTest, SilenceHasNoText) {
  Engine engine(model(), options("auto"));
  EXPECT_TRUE(engine.transcribe_samples(std::vector<float>(19200, 0), {}).segments.empty());
  EXPECT_TRUE(engine.transcribe_samples(std::vector<float>(720000, 0), {}).segments.empty());
}

TEST_F(EngineTest, NaNSamplesAreRefused) {
  Engine engine(model(), options("auto"));
  std::vector<float> samples = noise(20000, 1);
  samples[15000] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(code_of([&] { engine.transcribe_samples(samples, {}); }), ErrorCode::bad_file);
}

TEST_F(EngineTest, StatsCountWhatIsHeld) {
  Engine engine(model(), options("auto", "f16"));
  Stats stats;
  TranscribeOptions greedy;
  greedy.temperatures = {0};
  greedy.beam_size = 1;
  engine.transcribe({audio(0)}, greedy, &stats);
  EXPECT_GT(stats.windows, 0);
  EXPECT_GE(stats.steps, stats.windows);
  EXPECT_NEAR(stats.audio_seconds, 2.5, 1e-6);
  // 100 encoder rows of 64 f16; each page of tokens holds two x rows.
  const int64_t encoder = 100 * 64 * 2;
  const int64_t own = 64 * 2 * 64 * 2;
  EXPECT_EQ(stats.context_peak_bytes, encoder + own);
  // The standard cache: two rows a layer, in two layers, on both sides.
  EXPECT_EQ(stats.context_peak_kv_bytes, encoder * 4 + own * 2);
}

TEST_F(EngineTest, InspectionIsWhatTheModelAllocates) {
  for (const char* cache : {"auto", "kv", "k"}) {
    const EngineOptions chosen = options(cache);
    Runtime runtime(model(), chosen);
    const Inspection inspection = inspect(model(), chosen);
    EXPECT_EQ(inspection.context.slim, held_context(runtime.model(), 64, 100)) << cache;
    EXPECT_EQ(inspection.context.kv, kv_context(runtime.model(), 64, 100));
    ASSERT_EQ(inspection.layers.size(), 4U);
    for (const LayerReport& layer : inspection.layers) {
      ASSERT_TRUE(layer.condition_k.has_value());
      EXPECT_GE(*layer.condition_k, 1);
      EXPECT_FALSE(layer.reason.empty());
    }
  }
}

TEST_F(EngineTest, AConfigAloneCanBeInspected) {
  TemporaryFolder alone;
  std::filesystem::copy_file(model() + "/config.json", alone.path() / "config.json");
  const Inspection inspection = inspect((alone.path() / "config.json").string(), {});
  EXPECT_EQ(inspection.context.kv, inspect(model(), {}).context.kv);
  EXPECT_EQ(inspection.context.slim, inspect(model(), {}).context.slim);
  EXPECT_FALSE(inspection.layers.front().condition_k.has_value());
  EXPECT_EQ(code_of([&] { Engine engine((alone.path() / "config.json").string(), {}); }),
            ErrorCode::bad_file);
}

TEST_F(EngineTest, KRowsIn16BitsAreRefusedUnlessForced) {
  EXPECT_EQ(code_of([&] { Engine engine(model(), options("k", "bf16")); }), ErrorCode::bad_request);
  EngineOptions forced = options("k", "bf16");
  forced.force_cache = true;
  Engine engine(model(), forced);
  EXPECT_GT(engine.verify(audio(0), {}).kl_mean, 0);
}

TEST_F(EngineTest, VerificationOfExactRowsIsExact) {
  Engine same(model(), options("kv", "f32"));
  const Verification none = same.verify(audio(0), {});
  EXPECT_EQ(none.kl_max, 0);
  // Two pages of two rows a layer, of which the last ends with 100 rows where there is one plane.
  EXPECT_EQ(none.context.slim - none.context.kv, (128 - 100) * 2 * 2 * 64 * 4);
  Engine slim(model(), options("x", "f32"));
  const Verification tiny = slim.verify(audio(0), {});
  EXPECT_EQ(tiny.tokens, none.tokens);
  EXPECT_LT(tiny.kl_max, 1e-8);
  EXPECT_GT(tiny.kl_max, 0) << "slim and kv must be two computations";
  EXPECT_EQ(tiny.top1, 1);
  EXPECT_GT(tiny.context.ratio(), 2);
  Engine rounded(model(), options("x", "i8"));
  EXPECT_GT(rounded.verify(audio(0), {}).kl_mean, 100 * tiny.kl_mean);
}

TEST_F(EngineTest, LanguagesAreDetectedOrChosen) {
  Engine engine((folder->path() / "multilingual").string(), options("auto"));
  const Transcription detected = engine.transcribe({audio(0)}, {}).front();
  EXPECT_FALSE(detected.language.empty());
  EXPECT_GT(detected.language_probability, 0);
  EXPECT_LE(detected.language_probability, 1);
  TranscribeOptions english;
  english.language = "en";
  EXPECT_EQ(engine.transcribe({audio(0)}, english).front().language, "en");
  english.language = "klingon";
  EXPECT_EQ(code_of([&] { engine.transcribe({audio(0)}, english); }), ErrorCode::bad_request);
}

TEST_F(EngineTest, LanguagesAloneAreThoseOfTranscription) {
  Engine engine((folder->path() / "multilingual").string(), options("auto"));
  const std::vector<std::string> paths = {audio(0), audio(1), audio(2)};
  TranscribeOptions together;
  together.batch_size = 2;
  together.language = "en";  // does not count
  const auto detected = engine.detect_languages(paths, together);
  ASSERT_EQ(detected.size(), 3U);
  for (size_t i = 0; i < paths.size(); ++i) {
    const Transcription whole = engine.transcribe({paths[i]}, {}).front();
    EXPECT_EQ(detected[i].language, whole.language);
    EXPECT_NEAR(detected[i].language_probability, whole.language_probability, 1e-6);
    EXPECT_TRUE(detected[i].segments.empty());
  }
  Engine english(model(), options("auto"));
  const Transcription alone = english.detect_languages({audio(0)}, {}).front();
  EXPECT_EQ(alone.language, "en");
  EXPECT_EQ(alone.language_probability, 1);
}

TEST_F(EngineTest, EachWindowHasItsOwnLanguage) {
  Runtime runtime((folder->path() / "multilingual").string(), options("auto"));
  const SpeechTokens& tokens = runtime.tokens();
  TranscribeOptions each;
  each.language = "en";
  each.multilingual = true;
  int others = 0;
  const auto check = [&](const DecodedWindow& window) {
    const Tensor encoded = window.encode(runtime.model());
    const std::vector<PageTable> rows =
        runtime.model().remember(encoded.matrix(), std::vector{encoded.size(0)});
    const std::vector<const PageTable*> one = {&rows.front()};
    const auto detected = detect_languages(runtime.model(), one, tokens).front();
    const auto start = std::find(window.prompt.begin(), window.prompt.end(), tokens.start);
    ASSERT_LT(start + 1, window.prompt.end());
    EXPECT_EQ(*(start + 1), tokens.languages[detected.index].id);
    others += *(start + 1) != tokens.language("en") ? 1 : 0;
  };
  transcribe_windows(runtime, runtime.model(), AudioReader::open(audio(2)), each, check);
  EXPECT_GT(others, 0);
  Engine english(model(), options("auto"));
  EXPECT_EQ(code_of([&] { english.transcribe({audio(0)}, each); }), ErrorCode::bad_request);
}

TEST_F(EngineTest, TheTaskChangesThePrompt) {
  Engine engine((folder->path() / "multilingual").string(), options("auto"));
  TranscribeOptions task;
  task.language = "en";
  task.temperatures = {0};
  const auto transcribed = tokens_of(engine.transcribe({audio(1)}, task).front());
  task.task = "translate";
  EXPECT_NE(tokens_of(engine.transcribe({audio(1)}, task).front()), transcribed);
  Engine english(model(), options("auto"));
  EXPECT_EQ(code_of([&] { english.transcribe({audio(0)}, task); }), ErrorCode::bad_request);
}

TEST_F(EngineTest, ProgressCanStop) {
  Engine engine(model(), options("auto"));
  TranscribeOptions stopping;
  int calls = 0;
  stopping.on_progress = [&](size_t file, double done, double total) {
    EXPECT_EQ(file, 0U);
    EXPECT_LE(done, total);
    return ++calls < 2;
  };
  engine.transcribe({audio(2), audio(2)}, stopping);
  EXPECT_EQ(calls, 2);
}

TEST_F(EngineTest, BenchmarkRowsAreWhole) {
  Engine engine(model(), options("auto"));
  BenchOptions bench;
  bench.batches = {1, 3};
  bench.tokens = 4;
  bench.repeats = 1;
  bench.read_bytes = 65536;
  const auto rows = engine.bench(bench);
  ASSERT_EQ(rows.size(), 8U);  // {kv, slim} x {f32, f16} x batches
  for (const BenchRow& row : rows) {
    EXPECT_GT(row.tokens_per_second, 0);
    EXPECT_GT(row.context_bytes, 0);
    EXPECT_GT(row.read_limit, 0);
  }
  EXPECT_EQ(rows[4].context_bytes, 3 * rows[0].context_bytes);
  EXPECT_EQ(rows[4].step_row_bytes, 3 * rows[0].step_row_bytes);
  EXPECT_EQ(rows[4].step_weight_bytes, rows[0].step_weight_bytes);
  bench.tokens = 1000;
  EXPECT_EQ(code_of([&] { engine.bench(bench); }), ErrorCode::bad_request);
}

TEST_F(EngineTest, BadRequestsAreSentences) {
  EXPECT_EQ(code_of([&] { Engine engine("nowhere", {}); }), ErrorCode::bad_file);
  EXPECT_EQ(code_of([&] { Engine engine(model(), options("q")); }), ErrorCode::bad_request);
  EXPECT_EQ(code_of([&] { Engine engine(model(), options("kv", "f64")); }), ErrorCode::bad_request);
  EXPECT_EQ(code_of([&] { Engine engine(model(), options("kv", "", "abacus")); }),
            ErrorCode::bad_request);
  Engine engine(model(), options("auto"));
  EXPECT_EQ(code_of([&] { engine.transcribe({"nowhere.wav"}, {}); }), ErrorCode::bad_file);
  TranscribeOptions none;
  none.batch_size = 0;
  EXPECT_EQ(code_of([&] { engine.transcribe({audio(0)}, none); }), ErrorCode::bad_request);
  EXPECT_TRUE(engine.transcribe({}, {}).empty());
}

}  // namespace
}  // namespace slim
