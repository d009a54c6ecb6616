// Numerics on trained weights: tests/golden/trained, a byte-level RoPE model whose W_K are as
// ill-conditioned as those of large models (tools/train_fixture.py). What is promised of caches is
// shown here, on text that the model never saw, every token scored against stored rows.
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "slim/slim.h"

namespace slim {
namespace {

const std::string kModel = std::string(SLIM_TEST_DATA) + "/golden/trained";

EngineOptions cache(const std::string& kind, const std::string& type = {},
                    std::optional<int64_t> spill = {}, std::optional<int64_t> rank = {}) {
  EngineOptions options;
  options.cache = kind;
  options.cache_type = type;
  options.spill = spill;
  options.rank = rank;
  options.force_cache = true;
  options.threads = 2;
  return options;
}

// 2048 tokens in sequences of 512, as long as it was trained on.
Verification verify(const EngineOptions& options) {
  ScoreOptions score;
  score.context = 512;
  score.max_tokens = 2048;
  return Engine(kModel, options).verify_text(kModel + "/heldout.txt", score);
}

double kl(const EngineOptions& options) { return verify(options).kl_mean; }

TEST(TrainedModel, IsAsIllConditionedAsLargeModels) {
  for (const LayerReport& layer : inspect(kModel, cache("auto")).layers) {
    ASSERT_TRUE(layer.condition_k.has_value());
    EXPECT_GT(*layer.condition_k, 1e3);
  }
}

TEST(TrainedModel, TheTextbookFormBreaksItIn16Bits) {
  EXPECT_GT(kl(cache("k", "bf16")), 1e-2);
  EXPECT_LT(kl(cache("k", "f32")), 1e-8);
}

TEST(TrainedModel, SealedKeysAreCloserThanTheCacheTheyReplace) {
  const double standard = kl(cache("kv", "bf16"));
  EXPECT_GT(standard, 1e-6);
  EXPECT_LT(standard, 1e-4);
  // In 16 bits, half the bytes: a tenth of the divergence at most, and below 1e-6.
  EXPECT_LT(kl(cache("k", "i16", 8, 0)), std::min(1e-6, standard / 10));
  // In 12, shaped: no worse.
  EXPECT_LT(kl(cache("k", "i12", 8, 32)), standard);
}

TEST(TrainedModel, SealedKeysBeatQuantisedKeysAndValuesOfMoreBytes) {
  const Verification keys = verify(cache("k", "i10", 8, 32));
  const Verification pair = verify(cache("kv", "i8"));
  EXPECT_LT(keys.kl_mean, pair.kl_mean);
  EXPECT_LT(keys.bytes_per_token, 0.75 * static_cast<double>(pair.bytes_per_token));
}

TEST(TrainedModel, ShapedRoundingAndSpillLowerTheDivergence) {
  const double plain = kl(cache("k", "i8", 8, 0));
  EXPECT_LT(kl(cache("k", "i8", 8, 32)), 0.7 * plain);
  EXPECT_LT(kl(cache("k", "i16", 8, 0)), 0.7 * kl(cache("k", "i16", 0, 0)));
}

TEST(TrainedModel, AutoKeepsItsBudget) {
  const Verification chosen = verify(cache("auto"));
  EXPECT_LT(chosen.kl_mean, kl(cache("kv", "bf16")));
  EXPECT_LT(chosen.bytes_per_token, 0.55 * static_cast<double>(chosen.bf16_bytes_per_token));
  for (const LayerReport& layer : chosen.layers) EXPECT_EQ(layer.kind, "k");
}

// Greedy text is the same, token for token: a difference would have to be a near tie.
TEST(TrainedModel, GreedyTextIsThatOfExactAttention) {
  GenerateRequest request;
  request.prompt = "import os\n\n\ndef main(";
  request.options.max_tokens = 512;
  const Generation exact = Engine(kModel, cache("kv", "f32")).generate(request);
  const Generation slim = Engine(kModel, cache("k", "i16", 8, 0)).generate(request);
  ASSERT_EQ(exact.samples.size(), 1U);
  EXPECT_EQ(slim.samples.front().text, exact.samples.front().text);
  EXPECT_GT(exact.samples.front().text.size(), 100U);
}

}  // namespace
}  // namespace slim
