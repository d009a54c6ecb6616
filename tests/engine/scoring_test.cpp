// Verification, perplexity, inspection and benchmarks of language models.
#include <gtest/gtest.h>

#include <cmath>

#include "engine/random_llama.h"
#include "engine/runtime.h"
#include "engine/text_scoring.h"
#include "error_matchers.h"
#include "slim/slim.h"
#include "temporary_folder.h"

namespace slim {
namespace {

EngineOptions cache(const std::string& kind, const std::string& type = "") {
  EngineOptions options;
  options.cache = kind;
  options.cache_type = type;
  options.threads = 2;
  options.force_cache = true;
  return options;
}

class ScoringTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder = new TemporaryFolder;
    write_random_llama(folder->path() / "model", {});
    std::string text;
    for (int i = 0; i < 60; ++i) text += "Line " + std::to_string(i * i) + " of the text.\n";
    folder->write("text.txt", text);
    folder->write("empty.txt", "");
  }
  static void TearDownTestSuite() { delete folder; }
  static std::string path(const std::string& name) { return (folder->path() / name).string(); }

  static TemporaryFolder* folder;
};
TemporaryFolder* ScoringTest::folder = nullptr;

TEST(CutText, RunsHaveTheirBeginningAndNoneIsOfOneToken) {
  const std::vector<int32_t> tokens = {1, 2, 3, 4, 5, 6, 7};
  EXPECT_EQ(cut_text(tokens, {}, 3), (std::vector<std::vector<int32_t>>{{1, 2, 3}, {4, 5, 6}}));
  const std::vector<int32_t> begin = {9};
  EXPECT_EQ(cut_text(tokens, begin, 4),
            (std::vector<std::vector<int32_t>>{{9, 1, 2, 3}, {9, 4, 5, 6}, {9, 7}}));
  EXPECT_TRUE(cut_text({}, begin, 4).empty());
}

TEST_F(ScoringTest, ExactRowsAreExact) {
  Engine same(path("model"), cache("kv", "f32"));
  const Verification none = same.verify_text(path("text.txt"), {});
  EXPECT_EQ(none.kl_max, 0);
  EXPECT_EQ(none.top1, 1);
  EXPECT_GT(none.tokens, 500);
  EXPECT_GT(none.sequences, 1);
  EXPECT_EQ(none.context_tokens, 256);
  Engine keys(path("model"), cache("k", "f32"));
  const Verification tiny = keys.verify_text(path("text.txt"), {});
  EXPECT_EQ(tiny.tokens, none.tokens);
  EXPECT_LT(tiny.kl_max, 1e-6);
  EXPECT_GT(tiny.kl_max, 0) << "slim and kv must be two computations";
}

TEST_F(ScoringTest, FewerBitsAreFurtherAndSmaller) {
  double last = 0;
  int64_t bytes = std::numeric_limits<int64_t>::max();
  for (const char* type : {"i16", "i12", "i8", "i4"}) {
    for (const char* kind : {"kv"}) {
      Engine engine(path("model"), cache(kind, type));
      const Verification result = engine.verify_text(path("text.txt"), {});
      EXPECT_GT(result.kl_mean, last) << kind << type;
      EXPECT_LT(result.bytes_per_token, bytes);
      EXPECT_LE(result.kl_mean, result.kl_max);
      last = result.kl_mean;
      bytes = result.bytes_per_token;
    }
  }
  EngineOptions keys = cache("k", "i16");
  keys.spill = 0;
  keys.rank = 0;
  Engine engine(path("model"), keys);
  const Verification result = engine.verify_text(path("text.txt"), {});
  EXPECT_GT(result.kl_mean, 0);
  // Keys of 64 numbers in 16 bits, and a 16-bit scale for each channel of a page.
  EXPECT_EQ(result.bytes_per_token, 2 * (64 * 2 + 64 * 2 / 64));
  EXPECT_EQ(result.bf16_bytes_per_token, 2 * 2 * 64 * 2);
  // One token before the fourth page is full: three pages, and a hot page of two layers of 64 f32
  // rows.
  EXPECT_EQ(result.context.slim, 192 * result.bytes_per_token + 2 * 64 * 64 * 4);
  EXPECT_EQ(result.context_bf16_bytes, 256 * result.bf16_bytes_per_token);
  EXPECT_EQ(result.context.kv, result.context_bf16_bytes);
}

TEST_F(ScoringTest, TheSizeOfPassesDoesNotMatter) {
  Engine engine(path("model"), cache("k", "i10"));
  ScoreOptions whole;
  whole.max_tokens = 256;
  const Verification expected = engine.verify_text(path("text.txt"), whole);
  EXPECT_EQ(expected.tokens, 256);
  for (const int64_t step : {1, 50, 64}) {
    ScoreOptions options = whole;
    options.step_tokens = step;
    const Verification result = engine.verify_text(path("text.txt"), options);
    // f32 rounding of the rows before they are sealed may move single integers.
    EXPECT_NEAR(result.kl_mean / expected.kl_mean, 1, 0.05) << step;
  }
}

TEST_F(ScoringTest, PerplexityIsThatOfTheLogProbabilities) {
  Engine engine(path("model"), cache("kv", "f32"));
  const std::string text = "Some words to score.";
  folder->write("words.txt", text);
  const std::vector<int32_t> tokens = engine.tokenize(text);
  double sum = 0;
  for (size_t i = 1; i < tokens.size(); ++i) {
    GenerateRequest request;
    request.tokens.assign(tokens.begin(), tokens.begin() + static_cast<ptrdiff_t>(i));
    request.options.max_tokens = 1;
    request.options.logprobs = 1000;
    const GeneratedToken next = engine.generate(request).samples[0].logprobs[0];
    for (const TokenProbability& one : next.top) {
      if (one.token == tokens[i]) sum -= one.logprob;
    }
  }
  const Perplexity result = engine.perplexity(path("words.txt"), {});
  EXPECT_EQ(result.tokens, static_cast<int64_t>(tokens.size()) - 1);
  // f32 logits of magnitude 10 computed in passes of other sizes.
  EXPECT_NEAR(result.nll_mean, sum / static_cast<double>(result.tokens), 1e-5);
  EXPECT_NEAR(result.perplexity, std::exp(result.nll_mean), 1e-9 * result.perplexity);
  EXPECT_GT(result.nll_error, 0);
}

TEST_F(ScoringTest, ProgressCanStop) {
  Engine engine(path("model"), cache("kv", "f32"));
  ScoreOptions options;
  options.context = 32;
  int calls = 0;
  options.on_progress = [&](int64_t done, int64_t total) {
    EXPECT_LT(done, total);
    return ++calls < 2;
  };
  EXPECT_EQ(engine.verify_text(path("text.txt"), options).sequences, 2);
}

TEST_F(ScoringTest, InspectionIsWhatTheModelAllocates) {
  for (const auto& [kind, type] : {std::pair{"kv", "bf16"}, {"kv", "i8"}, {"k", "i12"}}) {
    const EngineOptions options = cache(kind, type);
    Runtime runtime(path("model"), options);
    const Inspection inspection = inspect(path("model"), options);
    EXPECT_EQ(inspection.context.slim, held_context(runtime.model(), 256, 0)) << kind << type;
    EXPECT_EQ(inspection.context.kv, kv_context(runtime.model(), 256, 0));
    EXPECT_EQ(inspection.context_bf16_bytes, 256 * 2 * 2 * 64 * 2);
    ASSERT_EQ(inspection.layers.size(), 2U);
    EXPECT_EQ(inspection.layers[0].kind, kind);
    EXPECT_EQ(inspection.layers[0].row_type, type);
    EXPECT_EQ(inspection.layers[0].attention, "self");
    EXPECT_EQ(inspection.mel_bins, 0);
    EXPECT_EQ(inspection.derived_bytes != 0, std::string(kind) == "k");
  }
}

TEST_F(ScoringTest, AConfigAloneCanBeInspected) {
  const Inspection whole = inspect(path("model"), cache("k", "i12"));
  const Inspection alone = inspect(path("model") + "/config.json", cache("k", "i12"));
  EXPECT_FALSE(alone.has_weights);
  EXPECT_TRUE(whole.has_weights);
  EXPECT_EQ(alone.context_bf16_bytes, whole.context_bf16_bytes);
  EXPECT_FALSE(alone.layers.front().condition_k.has_value());
  // 16 bits a number of the same matrices (norms are not counted), where the file has 32.
  EXPECT_NEAR(static_cast<double>(alone.weight_bytes) / static_cast<double>(whole.weight_bytes),
              0.5, 0.01);
}

TEST_F(ScoringTest, BenchmarkRowsAreWhole) {
  Engine engine(path("model"), cache("k", "i16"));
  BenchOptions bench;
  bench.prompts = {10, 100};
  bench.tokens = 4;
  bench.repeats = 1;
  bench.read_bytes = 65536;
  const auto rows = engine.bench(bench);
  ASSERT_EQ(rows.size(), 4U);
  EXPECT_EQ(rows[0].cache, "kv");
  EXPECT_EQ(rows[3].cache, "slim");
  for (const BenchRow& row : rows) {
    EXPECT_GT(row.prompt_rate, 0);
    EXPECT_GT(row.tokens_per_second, 0);
    EXPECT_GT(row.context_bytes, 0);
    EXPECT_GT(row.read_limit, 0);
  }
  bench.prompts = {253};
  EXPECT_TRUE(fails_with(ErrorCode::bad_request, {"256", "252"}, [&] { engine.bench(bench); }));
}

TEST_F(ScoringTest, BadTextsAreSentences) {
  Engine engine(path("model"), cache("kv", "f32"));
  EXPECT_TRUE(fails_with(ErrorCode::bad_request, {"empty.txt"},
                         [&] { engine.perplexity(path("empty.txt"), {}); }));
  EXPECT_TRUE(fails_with(ErrorCode::bad_file, {"nowhere.txt"},
                         [&] { engine.verify_text(path("nowhere.txt"), {}); }));
  ScoreOptions options;
  options.context = 257;
  EXPECT_TRUE(fails_with(ErrorCode::bad_request, {"257", "256"},
                         [&] { engine.verify_text(path("text.txt"), options); }));
}

}  // namespace
}  // namespace slim
