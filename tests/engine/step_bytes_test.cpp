// What a decoding step is said to read, against numbers counted by hand from the shapes of tiny
// models: f32 weights, so four bytes each.
#include <gtest/gtest.h>

#include "engine/benchmark.h"
#include "engine/random_llama.h"
#include "engine/random_whisper.h"
#include "engine/runtime.h"
#include "kernels/island_kernels.h"
#include "temporary_folder.h"

namespace slim {
namespace {

constexpr int64_t kWidth = 64;  // of both models; two layers each, MLPs of 128

EngineOptions cache(const std::string& kind, const std::string& type, int64_t spill = 0) {
  EngineOptions options;
  options.cache = kind;
  options.cache_type = type;
  options.threads = 1;
  options.force_cache = true;
  if (kind == "k") {
    options.spill = spill;
    options.rank = 0;
  }
  return options;
}

class StepBytes : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder = new TemporaryFolder;
    write_random_llama(folder->path() / "llama", {});
    write_random_whisper(folder->path() / "whisper", {});
  }
  static void TearDownTestSuite() { delete folder; }
  static std::string path(const std::string& name) { return (folder->path() / name).string(); }
  static TemporaryFolder* folder;
};
TemporaryFolder* StepBytes::folder = nullptr;

// A Llama without biases: two norms and three matrices beside the attention, and a tied head.
int64_t llama_without_attention(const ModelSpec& spec) {
  return 4 * (2 * (2 * kWidth + 3 * 2 * kWidth * kWidth) + kWidth + spec.vocabulary * kWidth);
}

TEST_F(StepBytes, KeysAndValues) {
  Runtime runtime(path("llama"), cache("kv", "bf16"));
  const Model& model = runtime.model();
  const int64_t projections = 4 * 4 * kWidth * kWidth;  // q, k, v, out
  EXPECT_EQ(model.step_weight_bytes(), llama_without_attention(runtime.spec()) + 2 * projections);
  // Two layers of keys and values of two bytes a number.
  EXPECT_EQ(model.step_row_bytes(1, 0), 2 * 2 * 2 * kWidth);
  EXPECT_EQ(model.step_row_bytes(100, 0), 100 * 2 * 2 * 2 * kWidth);
}

// The rows before the last one's page are sealed: 12 bits a number, and a scale and a middle of two
// bytes a channel. Those of its page are f32.
TEST_F(StepBytes, SealedKeys) {
  Runtime runtime(path("llama"), cache("k", "i12", 8));
  const Model& model = runtime.model();
  const int64_t projections = 4 * 3 * kWidth * kWidth;  // q, k, out
  const int64_t map = 2 * kWidth * kWidth + 4 * kWidth;
  const int64_t spill = 8 * kWidth * 2 + kWidth * 8 * 4;  // U_r in f16, B in f32
  EXPECT_EQ(model.step_weight_bytes(),
            llama_without_attention(runtime.spec()) + 2 * (projections + map + spill));
  const int64_t columns = kWidth + 8;
  const int64_t page = 64 * columns * 12 / 8 + columns * 4;
  const int64_t padded = (page + 63) / 64 * 64;
  EXPECT_EQ(model.step_row_bytes(64, 0), 2 * 64 * columns * 4);
  EXPECT_EQ(model.step_row_bytes(65, 0), 2 * (padded + columns * 4));
  EXPECT_EQ(model.step_row_bytes(200, 0), 2 * (3 * padded + 8 * columns * 4));
}

// Each layer reads the encoder's rows, which are held once; what made keys and values of them is
// not read again.
TEST_F(StepBytes, EncoderRows) {
  Runtime runtime(path("whisper"), cache("auto", "f16"));
  const Model& slim = runtime.model();
  const Model& kv = runtime.model(kv_choice(RowType::f16));
  const int64_t matrix = 4 * kWidth * kWidth;
  const int64_t bias = 4 * kWidth;
  const int64_t mlp = 4 * (2 * 2 * kWidth * kWidth + 3 * kWidth);
  const int64_t rest = 2 * (3 * 2 * bias + mlp) + 2 * bias + 4 * runtime.spec().vocabulary * kWidth;
  // Self and cross attention alike: q and out, W_K absorbed, v.
  EXPECT_EQ(slim.step_weight_bytes(), rest + 2 * 2 * (4 * matrix + 3 * bias));
  EXPECT_EQ(kv.step_weight_bytes(), rest + 2 * (4 * matrix + 3 * bias + 2 * matrix + 2 * bias));
  EXPECT_EQ(slim.step_row_bytes(5, 100), 2 * (5 + 100) * kWidth * 2);
  EXPECT_EQ(kv.step_row_bytes(5, 100), 2 * 2 * (5 + 100) * kWidth * 2);
}

TEST_F(StepBytes, BenchmarksTakeTheMeanOfTheirSteps) {
  BenchOptions options;
  options.tokens = 3;
  options.repeats = 1;
  options.prompts = {70};
  options.batches = {4};
  Runtime text(path("llama"), cache("kv", "bf16"));
  const BenchRow row = bench_text(text, options).back();
  EXPECT_EQ(row.step_weight_bytes, text.model().step_weight_bytes());
  EXPECT_EQ(row.step_row_bytes, 4 * text.model().step_row_bytes(72, 0));
  options.batches = {};
  EXPECT_EQ(bench_text(text, options).back().step_row_bytes, text.model().step_row_bytes(72, 0));
  options.batches = {4};
  Runtime speech(path("whisper"), cache("auto", "f16"));
  const BenchRow window = bench_encoded(speech, options).back();
  EXPECT_EQ(window.step_row_bytes, 4 * speech.model().step_row_bytes(6, 100));
}

TEST(BenchRow, RatesAreBytesOverTime) {
  BenchRow row;
  row.step_weight_bytes = 600;
  row.step_row_bytes = 400;
  row.step_seconds = 2;
  EXPECT_EQ(row.read_share(), 0);
  row.read_limit = 2000;
  EXPECT_EQ(row.read_rate(), 500);
  EXPECT_EQ(row.read_share(), 0.25);
}

TEST(ReadLimit, IsMeasuredWhereverMemoryLies) {
  const auto kernels = make_kernels("cpu", 2);
  EXPECT_GT(read_limit(*kernels, 1 << 20), 1e6);
  test::IslandKernels island;
  const int64_t before = island.device().allocated_bytes();
  EXPECT_GT(read_limit(island, 1 << 20), 1e6);
  EXPECT_EQ(island.device().allocated_bytes(), before);
}

}  // namespace
}  // namespace slim
