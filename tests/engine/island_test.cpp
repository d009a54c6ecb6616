// Every command of the engine on a device whose memory the processor cannot reach
// (kernels/island_kernels.h), against the same kernels on the host's.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "engine/generator.h"
#include "engine/noise.h"
#include "engine/random_llama.h"
#include "engine/random_whisper.h"
#include "engine/runtime.h"
#include "kernels/island_kernels.h"
#include "temporary_folder.h"

namespace slim {
namespace {

const char* const kPrompt = "The quick brown fox jumps over the lazy dog, and then it sleeps.";

EngineOptions cache(const std::string& kind, const std::string& type = "") {
  EngineOptions options;
  options.cache = kind;
  options.cache_type = type;
  options.device = "cpu";
  options.threads = 1;
  options.force_cache = true;
  return options;
}

class IslandTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder = new TemporaryFolder;
    write_random_llama(folder->path() / "llama", {});
    RandomWhisper multilingual;
    multilingual.multilingual = true;
    write_random_whisper(folder->path() / "whisper", multilingual);
    write_wav(folder->path() / "noise.wav", noise(50000, 8));
    std::ofstream text(folder->path() / "text");
    for (int i = 0; i < 40; ++i) text << kPrompt << " " << i << "\n";
  }
  static void TearDownTestSuite() { delete folder; }
  static std::string path(const std::string& name) { return (folder->path() / name).string(); }

  // The same question to both.
  template <typename Ask>
  static void expect_same(const std::string& model, const EngineOptions& options, Ask ask) {
    Runtime plain(path(model), options);
    Runtime island(path(model), options, std::make_unique<test::IslandKernels>("cpu", 1));
    EXPECT_EQ(island.kernels().name(), "island");
    EXPECT_EQ(ask(island), ask(plain)) << options.cache << " " << options.cache_type;
  }

  static TemporaryFolder* folder;
};
TemporaryFolder* IslandTest::folder = nullptr;

// Samples of one prompt fork its rows.
TEST_F(IslandTest, Generates) {
  for (const auto& [kind, type] : {std::pair{"kv", "f16"}, {"kv", "i8"}, {"k", "i12"}}) {
    expect_same("llama", cache(kind, type), [](Runtime& runtime) {
      GenerateRequest request;
      request.prompt = kPrompt;
      request.samples = 3;
      request.options.max_tokens = 90;
      request.options.ignore_end = true;
      request.options.sampling.temperature = 1;
      request.options.sampling.seed = 3;
      const Generation generation = generate_text(runtime, {request}).front();
      std::vector<int32_t> all;
      for (const Completion& one : generation.samples) {
        all.insert(all.end(), one.tokens.begin(), one.tokens.end());
      }
      EXPECT_EQ(all.size(), 270U);
      all.push_back(static_cast<int32_t>(generation.stats.context_bytes));
      return all;
    });
  }
}

// As a chat does: a turn goes back into rows that were sealed, and goes on from there.
TEST_F(IslandTest, ContinuesWhatIsKept) {
  expect_same("llama", cache("k", "i12"), [](Runtime& runtime) {
    const Model& model = runtime.model();
    Sequence kept{model.new_sequence()};
    GenerateOptions options;
    options.max_tokens = 80;
    options.ignore_end = true;
    options.sampling.seed = 1;
    TextRequest request;
    request.tokens = runtime.tokenizer().encode(kPrompt, true, true);
    request.options = &options;
    request.kept = &kept;
    Generator generator(model, runtime.shared_tokenizer(), runtime.text_tokens());
    const Generation first = std::move(generator.run({&request, 1}).front());
    request.tokens.insert(request.tokens.end(), first.samples.front().tokens.begin(),
                          first.samples.front().tokens.begin() + 20);
    model.truncate(kept.rows, static_cast<int64_t>(request.tokens.size()) - 1);
    return generator.run({&request, 1}).front().samples.front().tokens;
  });
}

TEST_F(IslandTest, VerifiesAndScoresText) {
  ScoreOptions options;
  options.context = 120;
  options.max_tokens = 300;
  for (const auto& [kind, type] : {std::pair{"kv", "i8"}, {"k", "i12"}, {"auto", ""}}) {
    expect_same("llama", cache(kind, type), [&](Runtime& runtime) {
      const Verification verified = verify_text(runtime, path("text"), options);
      const Perplexity perplexity = measure_perplexity(runtime, path("text"), options);
      EXPECT_GT(verified.tokens, 200);
      return std::vector<double>{verified.kl_mean, verified.logit_max,
                                 static_cast<double>(verified.context.slim), perplexity.nll_mean};
    });
  }
}

TEST_F(IslandTest, MeasuresPlans) {
  EngineOptions options = cache("auto");
  options.force_cache = false;
  options.calibration = path("text");
  expect_same("llama", options, [](Runtime& runtime) {
    const Calibration measured = runtime.calibration().value();
    return std::vector<double>{measured.kl, measured.kv_kl, measured.predicted_budget};
  });
}

TEST_F(IslandTest, TranscribesAndVerifiesSpeech) {
  for (const auto& [kind, type] : {std::pair{"auto", "f16"}, {"kv", "i8"}, {"x", "f32"}}) {
    std::vector<double> verifications;
    expect_same("whisper", cache(kind, type), [&](Runtime& runtime) {
      const std::vector<float> samples = noise(70000, 7);
      const AudioList audio{2, [&](size_t) {
                              std::vector<std::unique_ptr<AudioReader>> one;
                              one.push_back(AudioReader::from_samples(samples, "noise"));
                              return one;
                            }};
      TranscribeOptions options;
      options.batch_size = 2;
      Stats stats;
      std::vector<int32_t> all;
      for (const Transcription& one : transcribe_audio(runtime, audio, options, &stats)) {
        for (const Segment& segment : one.segments) {
          all.insert(all.end(), segment.tokens.begin(), segment.tokens.end());
        }
      }
      EXPECT_FALSE(all.empty());
      const Verification verified = verify_audio(runtime, path("noise.wav"), {});
      EXPECT_GT(verified.tokens, 0);
      verifications.push_back(verified.kl_mean);
      EXPECT_GT(stats.context_peak_bytes, 0);  // an island's pages are whole
      return all;
    });
    EXPECT_EQ(verifications.front(), verifications.back());
  }
}

TEST_F(IslandTest, Benchmarks) {
  Runtime text(path("llama"), cache("k", "i12"), std::make_unique<test::IslandKernels>());
  BenchOptions options;
  options.tokens = 3;
  options.repeats = 1;
  options.prompts = {70};
  options.batches = {1, 3};
  for (const BenchRow& row : bench_text(text, options)) EXPECT_GT(row.context_bytes, 0);
  Runtime speech(path("whisper"), cache("auto"), std::make_unique<test::IslandKernels>());
  for (const BenchRow& row : bench_encoded(speech, options)) EXPECT_GT(row.context_bytes, 0);
}

}  // namespace
}  // namespace slim
