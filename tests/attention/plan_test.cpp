// Plans of whole models: which kind each layer gets, at what size, and what users are told.
#include "attention/plan.h"

#include <gtest/gtest.h>

#include <cmath>

#include "attention/k_choices.h"
#include "slim/error.h"

namespace slim {
namespace {

AttentionSpec whisper_tiny(bool cross) {
  return {.width = 384,
          .heads = 6,
          .key_heads = 6,
          .head_width = 64,
          .scale = 0.125F,
          .cross = cross,
          .causal = !cross};
}

std::vector<LayerRequest> layers_of(int64_t count, AttentionSpec self, AttentionSpec cross,
                                    Conditioning conditioning = {2.4e6}) {
  std::vector<LayerRequest> layers;
  for (int64_t layer = 0; layer < count; ++layer) {
    layers.push_back({layer, self, conditioning});
    layers.push_back({layer, cross, conditioning});
  }
  return layers;
}

std::vector<LayerRequest> tiny() { return layers_of(4, whisper_tiny(false), whisper_tiny(true)); }

Error refusal(const std::vector<LayerRequest>& layers, const CacheChoice& choice) {
  try {
    plan(layers, choice);
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "the plan was accepted";
  return {ErrorCode::internal, ""};
}

testing::AssertionResult contains(const std::string& text, const std::string& part) {
  if (text.find(part) != std::string::npos) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "'" << text << "' lacks '" << part << "'";
}

TEST(Plan, AutoTakesInputAndEncoderRowsInF16) {
  const std::vector<LayerPlan> layers = plan(tiny(), {});
  ASSERT_EQ(layers.size(), 8U);
  for (const LayerPlan& layer : layers) {
    EXPECT_EQ(layer.kind, layer.cross ? "encoder" : "x");
    EXPECT_EQ(layer.rows.type, RowType::f16);
    EXPECT_EQ(layer.kv_bytes_per_token, 2 * 384 * 2);
    EXPECT_EQ(layer.bytes_per_token, layer.cross && layer.layer > 0 ? 0 : 384 * 2);
    EXPECT_EQ(layer.predicted_error, 0x1p-11);
    EXPECT_EQ(layer.condition_k, 2.4e6);
  }
  EXPECT_TRUE(contains(layers[1].reason, "the encoder's output, 384 numbers"));
  EXPECT_TRUE(contains(layers[3].reason, "reads the rows stored for layer 0"));
}

TEST(Plan, KindsApplyToEveryLayer) {
  for (const LayerPlan& layer : plan(tiny(), {.kind = "kv", .row_type = RowType::i8})) {
    EXPECT_EQ(layer.kind, "kv");
    // Sealed, keys have a scale and a middle a channel and page; cross attention has groups of 32
    // alone.
    EXPECT_EQ(layer.bytes_per_token, layer.cross ? 2 * (384 + 48) : 384 + 24 + 384 + 48);
    EXPECT_EQ(layer.hot_bytes_per_token, layer.cross ? 0 : 2 * 384 * 4);
    EXPECT_EQ(layer.kv_bytes_per_token, layer.cross ? layer.bytes_per_token : 2 * 384 * 2);
    EXPECT_EQ(layer.predicted_error, 1.0 / 254);
  }
  for (const LayerPlan& layer : plan(tiny(), {.kind = "x", .row_type = RowType::bf16})) {
    EXPECT_EQ(layer.kind, layer.cross ? "encoder" : "x");
  }
  for (const LayerPlan& layer : plan(tiny(), {.kind = "k", .row_type = RowType::f32})) {
    EXPECT_EQ(layer.kind, "k");
    EXPECT_EQ(layer.rows.type, RowType::f32);
    EXPECT_EQ(layer.bytes_per_token, 384 * 4);
    EXPECT_EQ(layer.kv_bytes_per_token, 2 * 384 * 4);
    EXPECT_NEAR(layer.predicted_error.value(), 2.4e6 * 0x1p-24, 1e-9);
  }
  for (const LayerPlan& layer : plan(tiny(), {.kind = "k"})) {
    EXPECT_EQ(layer.rows.type, layer.cross ? RowType::f32 : RowType::i16);
  }
}

TEST(Plan, RefusesKIn16BitsWithItsReason) {
  const Error error = refusal(tiny(), {.kind = "k", .row_type = RowType::bf16});
  EXPECT_EQ(error.code(), ErrorCode::bad_request);
  EXPECT_EQ(error.place(), "layer 0, self-attention");
  EXPECT_TRUE(contains(error.text(),
                       "k in bf16 rows multiplies their rounding (3.9e-03) by cond(W_K) = "
                       "2.4e+06, a relative error of up to 9.4e+03"));
  const auto forced = plan(tiny(), {.kind = "k", .row_type = RowType::bf16, .forced = true});
  EXPECT_EQ(forced[0].rows.type, RowType::bf16);
  EXPECT_TRUE(contains(forced[0].reason, "forced: k in bf16"));
  EXPECT_EQ(forced[0].bytes_per_token, 384 * 2);

  const auto unknown = layers_of(1, whisper_tiny(false), whisper_tiny(true), {});
  EXPECT_TRUE(
      contains(refusal(unknown, {.kind = "k", .row_type = RowType::f16}).text(), "unknown"));
  EXPECT_EQ(plan(unknown, {.kind = "k"})[0].predicted_error, std::nullopt);
}

TEST(Plan, NotEvenForceHelpsWhereNoMapExists) {
  AttentionSpec narrow = whisper_tiny(false);
  narrow.head_width = 32;
  AttentionSpec grouped = whisper_tiny(false);
  grouped.key_heads = 2;
  for (const bool forced : {false, true}) {
    const CacheChoice k{.kind = "k", .forced = forced};
    EXPECT_TRUE(contains(refusal(layers_of(1, narrow, narrow), k).text(), "384 x 192"));
    EXPECT_TRUE(contains(refusal(layers_of(1, grouped, grouped), k).text(), "share 2 key heads"));
    const auto singular = layers_of(1, whisper_tiny(false), whisper_tiny(true), {1e17});
    const CacheChoice alone{.kind = "k", .spill = 0, .forced = forced};
    EXPECT_TRUE(contains(refusal(singular, alone).text(), "singular"));
  }
}

TEST(Plan, AutoFallsBackToKvAndSaysWhy) {
  AttentionSpec grouped = whisper_tiny(false);
  grouped.key_heads = 2;
  const auto layers = plan(layers_of(1, grouped, whisper_tiny(true)), {});
  EXPECT_EQ(layers[0].kind, "kv");
  EXPECT_TRUE(contains(layers[0].reason, "x does not fit: its 6 query heads share 2 key heads"));
  EXPECT_EQ(layers[1].kind, "encoder");

  // 100 inputs are no whole groups of i8, 64 keys are.
  AttentionSpec odd = whisper_tiny(false);
  odd.width = 100;
  odd.heads = odd.key_heads = 1;
  const auto groups = plan(layers_of(1, odd, whisper_tiny(true)), {.row_type = RowType::i8});
  EXPECT_EQ(groups[0].kind, "kv");
  EXPECT_TRUE(contains(groups[0].reason, "groups of 32, and 100 numbers"));
}

TEST(Plan, AutoNeverGrowsTheCache) {
  AttentionSpec thin = whisper_tiny(false);  // keys and values of 2 * 192 numbers, inputs of 384
  thin.heads = thin.key_heads = 3;
  AttentionSpec thin_cross = thin;
  thin_cross.cross = true;
  const auto one = plan(layers_of(1, thin, thin_cross), {});
  EXPECT_EQ(one[0].kind, "kv");
  EXPECT_TRUE(contains(one[0].reason, "x would take 768 bytes a token where kv takes 768"));
  EXPECT_EQ(one[1].kind, "kv");
  // Two layers share the encoder's rows: then they are worth it.
  const auto two = plan(layers_of(2, thin, thin_cross), {});
  EXPECT_EQ(two[0].kind, "kv");
  EXPECT_EQ(two[1].kind, "encoder");
  EXPECT_EQ(two[3].kind, "encoder");
  // Who asks for x gets it.
  EXPECT_EQ(plan(layers_of(1, thin, thin_cross), {.kind = "x", .row_type = {}})[0].kind, "x");
}

// A layer of Llama-2-7B, whose keys are so ill-conditioned that each type needs a spill of its own.
AttentionSpec llama() {
  AttentionSpec spec;
  spec.width = 4096;
  spec.heads = spec.key_heads = 32;
  spec.head_width = 128;
  spec.rotary = true;
  return spec;
}

LayerRequest llama_layer(int64_t layer, double hardness) {
  LayerRequest request{layer, llama(), {}};
  request.conditioning.condition_k = 1e4;
  for (const RowChoice& rows : key_choices()) {
    const double bits = bits_of(rows.type) + static_cast<double>(rows.spill) / 8 +
                        static_cast<double>(rows.rank) / 16;
    request.conditioning.key_errors.push_back({rows, hardness * std::exp2(14 - bits)});
  }
  return request;
}

TEST(Plan, KeysAreTheSmallestWithinTheBudget) {
  // 14 "bits" are asked for, of 16: the smallest rows are i8 ones with rank 64 and 16 columns.
  const auto layers = plan(std::vector{llama_layer(0, 1.0)}, {});
  EXPECT_EQ(layers[0].kind, "k");
  EXPECT_EQ(layers[0].rows, (RowChoice{RowType::i8, 16, 64}));
  EXPECT_EQ(layers[0].bytes_per_token, (64 * 4112 + 4 * 4112) / 64);
  EXPECT_EQ(layers[0].hot_bytes_per_token, 4 * 4112);
  EXPECT_EQ(layers[0].kv_bytes_per_token, 2 * 4096 * 2);
  EXPECT_DOUBLE_EQ(layers[0].predicted_error.value(), 0x1p-8);
  EXPECT_TRUE(contains(layers[0].reason,
                       "keys alone, 4096 numbers in i8, 16 spill columns, rounding shaped by a "
                       "factor of rank 64; cond(W_K) = 1.0e+04; predicted error 1 of that of kv"));
  // Layers differ; a larger budget takes fewer columns; what the user fixes stays.
  const std::vector both{llama_layer(0, 1.0), llama_layer(1, 8.0)};
  const auto mixed = plan(both, {.kind = "k"});
  EXPECT_EQ(mixed[0].rows, (RowChoice{RowType::i8, 16, 64}));
  EXPECT_EQ(mixed[1].rows, (RowChoice{RowType::i10, 32, 64}));
  EXPECT_EQ(plan(both, {.budget = 8.0})[1].rows, mixed[0].rows);
  EXPECT_EQ(plan(both, {.spill = 0, .rank = 0})[0].rows, (RowChoice{RowType::i16, 0, 0}));
  EXPECT_EQ(plan(both, {.row_type = RowType::i12})[0].rows, (RowChoice{RowType::i12, 8, 64}));
}

TEST(Plan, KeysAboveTheBudgetAreReplacedOrNamed) {
  const std::vector hard{llama_layer(0, 1e4)};
  const auto layers = plan(hard, {});
  EXPECT_EQ(layers[0].kind, "kv");
  EXPECT_TRUE(contains(layers[0].reason, "k does not fit: keys alone, 4096 numbers in i16"));
  EXPECT_TRUE(contains(layers[0].reason, "above the budget of 1"));
  EXPECT_TRUE(contains(refusal(hard, {.kind = "k"}).text(), "above the budget"));
  EXPECT_EQ(plan(hard, {.kind = "k", .forced = true})[0].rows, (RowChoice{RowType::i16, 32, 64}));
  // Who names a type gets it, and is told.
  const auto named = plan(hard, {.kind = "k", .row_type = RowType::i10});
  EXPECT_EQ(named[0].rows, (RowChoice{RowType::i10, 32, 64}));
  EXPECT_TRUE(contains(named[0].reason, "above the budget"));
}

TEST(Plan, WithoutWeightsKeysAreI16WithEightColumns) {
  const std::vector unknown{LayerRequest{0, llama(), {}}};
  const auto layers = plan(unknown, {});
  EXPECT_EQ(layers[0].kind, "k");
  EXPECT_EQ(layers[0].rows, (RowChoice{RowType::i16, 8, 0}));
  EXPECT_EQ(layers[0].predicted_error, std::nullopt);
  EXPECT_TRUE(contains(layers[0].reason, "not known without the weights"));
  EXPECT_EQ(layers[0].kv_bytes_per_token, 16384);
  EXPECT_NEAR(static_cast<double>(layers[0].bytes_per_token) / 16384, 0.509, 0.001);
}

TEST(Plan, LayersThatKeysCannotServeGetKvWithTheReason) {
  const auto reason = [](auto&& change) {
    LayerRequest request{0, llama(), {}};
    change(request.spec);
    const LayerPlan layer = plan(std::vector{request}, {})[0];
    EXPECT_EQ(layer.kind, "kv");
    EXPECT_EQ(layer.rows, RowChoice{RowType::f16});
    return layer.reason;
  };
  EXPECT_TRUE(contains(reason([](AttentionSpec& spec) { spec.key_heads = 8; }),
                       "k does not fit: its 32 query heads share 8 key heads"));
  EXPECT_TRUE(contains(reason([](AttentionSpec& spec) { spec.clip = 8.0F; }), "clamped"));
  EXPECT_TRUE(
      contains(reason([](AttentionSpec& spec) { spec.key_norm = KeyNorm::head; }), "a norm"));
  EXPECT_TRUE(contains(reason([](AttentionSpec& spec) {
                         spec.key_norm = KeyNorm::row;
                         spec.key_norm_kind = NormKind::layer;
                       }),
                       "subtracts a mean"));
  // A norm over whole keys is one more number a token.
  LayerRequest normed{0, llama(), {}};
  const int64_t plain = plan(std::vector{normed}, {})[0].bytes_per_token;
  normed.spec.key_norm = KeyNorm::row;
  EXPECT_EQ(plan(std::vector{normed}, {})[0].bytes_per_token, plain + 4);
  EXPECT_TRUE(contains(refusal({normed}, {.kind = "x"}).text(), "rotate"));
}

TEST(Plan, RefusesUnknownNames) {
  const Error error = refusal(tiny(), {.kind = "q", .row_type = {}});
  EXPECT_EQ(error.code(), ErrorCode::bad_request);
  EXPECT_TRUE(contains(error.text(), "auto, kv, x, k"));
  // Encoder rows are written once, and never sealed.
  EXPECT_TRUE(contains(refusal(tiny(), {.kind = "kv", .row_type = RowType::i12}).text(),
                       "i12 rows are sealed a page at a time"));
  EXPECT_EQ(row_type("i10"), RowType::i10);
  EXPECT_EQ(bits_of(RowType::i5), 5);
  EXPECT_THROW(row_type("i7"), Error);
  EXPECT_THROW(scheme("encoderr"), Error);
}

}  // namespace
}  // namespace slim
