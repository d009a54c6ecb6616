// Encoder-decoder models of text beyond the golden ones: what published sizes would hold, buckets
// of distances by hand, and configs that make no sense.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>

#include "attention/plan.h"
#include "engine/runtime.h"
#include "error_matchers.h"
#include "models/distance_bias.h"
#include "models/family.h"
#include "models/golden.h"
#include "temporary_folder.h"

namespace slim::test {
namespace {

// Buckets of T5: 32, of which half are of rows ahead in an encoder, up to 128 tokens.
TEST(DistanceBias, BucketsAreThoseOfT5) {
  const auto encoder = [](int64_t distance) { return bucket_of(distance, 32, 128, true); };
  const auto decoder = [](int64_t distance) { return bucket_of(distance, 32, 128, false); };
  EXPECT_EQ(encoder(0), 0);
  EXPECT_EQ(encoder(-7), 7);
  EXPECT_EQ(encoder(7), 16 + 7);
  EXPECT_EQ(encoder(-8), 8);
  EXPECT_EQ(encoder(-11), 8);
  EXPECT_EQ(encoder(-12), 9);
  EXPECT_EQ(encoder(-16), 10);
  EXPECT_EQ(encoder(-32), 12);
  EXPECT_EQ(encoder(-64), 14);
  EXPECT_EQ(encoder(64), 16 + 14);
  for (const int64_t far : {128, 129, 100000}) EXPECT_EQ(encoder(-far), 15);
  EXPECT_EQ(encoder(128), 31);
  EXPECT_EQ(decoder(5), 0);  // ahead: nobody sees it
  EXPECT_EQ(decoder(-15), 15);
  EXPECT_EQ(decoder(-16), 16);
  EXPECT_EQ(decoder(-18), 16);
  EXPECT_EQ(decoder(-19), 17);
  EXPECT_EQ(decoder(-127), 31);
  EXPECT_EQ(decoder(-128), 31);
}

std::string t5_config(int64_t width, int64_t heads, int64_t head_width, int64_t layers,
                      const std::string& more = "") {
  return fmt::format(
      R"({{"architectures": ["T5ForConditionalGeneration"], "model_type": "t5", "vocab_size": 32128,
      "d_model": {}, "num_heads": {}, "d_kv": {}, "num_layers": {}, "d_ff": 1024{}}})",
      width, heads, head_width, layers, more);
}

ModelFiles open_text(const std::string& config) {
  const TemporaryFolder folder;
  folder.write("config.json", config);
  return open_model(folder.path() / "config.json");
}

struct Published {
  std::string name;
  std::string config;
  double width, inner, layers;  // d, e, L
};

// A standard cache of S source and T target tokens holds 2 L (S + T) e numbers, slim S d + L T d.
TEST(Translator, HoldsWhatTheFormulaSays) {
  const std::string nllb = R"({"architectures": ["M2M100ForConditionalGeneration"],
      "model_type": "m2m_100", "vocab_size": 256206, "d_model": 2048, "encoder_layers": 24,
      "decoder_layers": 24, "encoder_attention_heads": 16, "decoder_attention_heads": 16,
      "encoder_ffn_dim": 8192, "decoder_ffn_dim": 8192, "max_position_embeddings": 1024})";
  const Published models[] = {
      {"T5-11B", t5_config(1024, 128, 128, 24), 1024, 16384, 24},
      {"T5-3B", t5_config(1024, 32, 128, 24), 1024, 4096, 24},
      {"Flan-T5-base", t5_config(768, 12, 64, 12), 768, 768, 12},
      {"Chronos-Bolt-base", t5_config(768, 12, 64, 12, R"(, "chronos_config": {
                                   "context_length": 2048, "prediction_length": 64,
                                   "input_patch_size": 16, "input_patch_stride": 16,
                                   "use_reg_token": true, "quantiles": [0.1, 0.5, 0.9]})"),
       768, 768, 12},
      {"NLLB-3.3B", nllb, 2048, 2048, 24}};
  for (const Published& model : models) {
    const ModelSpec spec = open_text(model.config).spec;
    std::vector<LayerRequest> requests;
    for (const AttentionSpec& layer : attention_layers(spec)) {
      requests.push_back({std::ssize(requests) / 2, layer, {}});
    }
    const std::vector<LayerPlan> layers = plan(requests, {});
    for (const auto& [source, target] :
         {std::pair{512.0, 512.0}, {1024.0, 64.0}, {64.0, 640.0}, {129.0, 1.0}, {64.0, 17.0}}) {
      const ContextBytes size =
          planned_context(layers, static_cast<int64_t>(target), static_cast<int64_t>(source));
      const double expected = 2 * model.layers * (source + target) * model.inner /
                              (source * model.width + model.layers * target * model.width);
      const double ratio = static_cast<double>(size.kv) / static_cast<double>(size.slim);
      EXPECT_NEAR(ratio / expected, 1.0, 0.05) << model.name << ", " << source << ", " << target;
    }
  }
}

TEST(Translator, RefusesSizesThatMakeNoSense) {
  const auto refuses = [](const std::string& more, const std::string& text) {
    return fails_with(ErrorCode::bad_file, {text},
                      [&] { open_text(t5_config(64, 4, 16, 2, more)); });
  };
  EXPECT_TRUE(refuses(R"(, "relative_attention_num_buckets": 3)", "3 buckets"));
  EXPECT_TRUE(refuses(R"(, "relative_attention_num_buckets": 30)", "30 buckets"));
  EXPECT_TRUE(refuses(R"(, "relative_attention_max_distance": 16)", "16 tokens"));
  EXPECT_TRUE(refuses(R"(, "relative_attention_max_distance": 1000000)", "1000000 tokens"));
  EXPECT_TRUE(refuses(R"(, "feed_forward_proj": "gated-sine")", "'sine'"));
}

}  // namespace
}  // namespace slim::test
