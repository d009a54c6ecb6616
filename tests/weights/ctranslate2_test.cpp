// CTranslate2's model.bin: canonical names, quantised weights, aliases, and hostile files.
#include "weights/ctranslate2.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "error_matchers.h"
#include "weights/weights_text.h"

namespace slim {
namespace {

using Floats = std::vector<float>;
using Names = std::vector<std::string>;

using Loaded = LoadedText<read_ctranslate2>;

testing::AssertionResult refuses(std::string_view why, std::string_view text,
                                 ErrorCode code = ErrorCode::bad_file) {
  const MemoryFile memory(text);
  return fails_with(code, {"memory", why}, [&] {
    const auto weights = read_ctranslate2(memory.file());
    for (const auto& name : weights->names()) weights->get(name).to_f32();
  });
}

// A little of everything: what the hostile variants start from.
Ct2Text small() {
  return Ct2Text()
      .tensor("encoder/num_heads", {}, Ct2Text::i16, bytes_of(int16_t{6}))
      .floats("decoder/embeddings/weight", {2, 1}, {1, 2})
      .floats("decoder/layer_0/self_attention/linear_0/weight", {3, 1}, {1, 2, 3})
      .tensor("decoder/layer_0/ffn/linear_0/weight", {2, 2}, Ct2Text::i8, "\x7f\x01\x02\x03")
      .floats("decoder/layer_0/ffn/linear_0/weight_scale", {2}, {127, 2})
      .alias("decoder/projection/weight", "decoder/embeddings/weight");
}

TEST(Ctranslate2, GivesCanonicalNames) {
  Ct2Text text;
  for (const std::string side : {"encoder", "decoder"}) {
    text.floats(side + "/embeddings/weight", {1}, {1})
        .floats(side + "/position_encodings/encodings", {1}, {1})
        .floats(side + "/layer_norm/gamma", {1}, {1})
        .floats(side + "/layer_norm/beta", {1}, {1});
  }
  text.floats("encoder/conv1/weight", {1}, {1}).floats("encoder/conv2/bias", {1}, {1});
  text.floats("decoder/projection/weight", {1}, {1});
  const std::string block = "decoder/layer_11/";
  for (const std::string module : {"self_attention/linear_1", "attention/linear_0",
                                   "attention/linear_2", "ffn/linear_0", "ffn/linear_1"}) {
    text.floats(block + module + "/weight", {1}, {1}).floats(block + module + "/bias", {1}, {1});
  }
  for (const std::string norm : {"self_attention", "attention", "ffn"}) {
    text.floats(block + norm + "/layer_norm/gamma", {1}, {1});
    text.floats(block + norm + "/layer_norm/beta", {1}, {1});
  }
  EXPECT_EQ(Loaded(text)->names(), (Names{"decoder.embed.weight",
                                          "decoder.layers.11.cross.norm.bias",
                                          "decoder.layers.11.cross.norm.weight",
                                          "decoder.layers.11.cross.out.bias",
                                          "decoder.layers.11.cross.out.weight",
                                          "decoder.layers.11.cross.q.bias",
                                          "decoder.layers.11.cross.q.weight",
                                          "decoder.layers.11.mlp.down.bias",
                                          "decoder.layers.11.mlp.down.weight",
                                          "decoder.layers.11.mlp.norm.bias",
                                          "decoder.layers.11.mlp.norm.weight",
                                          "decoder.layers.11.mlp.up.bias",
                                          "decoder.layers.11.mlp.up.weight",
                                          "decoder.layers.11.self.norm.bias",
                                          "decoder.layers.11.self.norm.weight",
                                          "decoder.layers.11.self.out.bias",
                                          "decoder.layers.11.self.out.weight",
                                          "decoder.norm.bias",
                                          "decoder.norm.weight",
                                          "decoder.positions.weight",
                                          "encoder.conv1.weight",
                                          "encoder.conv2.bias",
                                          "encoder.embed.weight",
                                          "encoder.norm.bias",
                                          "encoder.norm.weight",
                                          "encoder.positions.weight",
                                          "head.weight"}));
}

TEST(Ctranslate2, KeepsNamesItDoesNotKnow) {
  const Names names = {"decoder/layer_/ffn/linear_0/weight",
                       "decoder/layer_0/ffn/linear_0/other",
                       "decoder/layer_0/ffn/linear_9/weight",
                       "decoder/layer_0x/ffn/linear_0/weight",
                       "else/layer_0/ffn/linear_0/weight",
                       "encoder/",
                       "encoder/weight",
                       "weight"};
  Ct2Text text;
  for (const std::string& name : names) text.floats(name, {1}, {1});
  EXPECT_EQ(Loaded(text)->names(), names);
}

TEST(Ctranslate2, SplitsStackedProjections) {
  for (size_t shift = 0; shift < 4; ++shift) {
    const Loaded weights(
        Ct2Text()
            .floats("encoder/layer_0/self_attention/linear_0/weight", {6, 1}, {1, 2, 3, 4, 5, 6})
            .floats("encoder/layer_0/self_attention/linear_0/bias", {3}, {7, 8, 9})
            .floats("decoder/layer_1/attention/linear_1/weight", {2, 2}, {1, 2, 3, 4}),
        shift);
    EXPECT_EQ(weights->names().size(), 8U);
    EXPECT_EQ(weights.values("encoder.layers.0.self.q.weight"), (Floats{1, 2}));
    EXPECT_EQ(weights.values("encoder.layers.0.self.k.weight"), (Floats{3, 4}));
    EXPECT_EQ(weights.values("encoder.layers.0.self.v.weight"), (Floats{5, 6}));
    EXPECT_EQ(weights.values("encoder.layers.0.self.q.bias"), Floats{7});
    EXPECT_EQ(weights.values("encoder.layers.0.self.v.bias"), Floats{9});
    EXPECT_EQ(weights.values("decoder.layers.1.cross.k.weight"), (Floats{1, 2}));
    EXPECT_EQ(weights.values("decoder.layers.1.cross.v.weight"), (Floats{3, 4}));
    EXPECT_EQ(weights->get("decoder.layers.1.cross.v.weight").shape(),
              (std::vector<int64_t>{1, 2}));
  }
}

TEST(Ctranslate2, RefusesProjectionsThatDoNotSplit) {
  const std::string name = "encoder/layer_0/self_attention/linear_0/weight";
  EXPECT_TRUE(refuses("cannot be split", Ct2Text().floats(name, {4}, {1, 2, 3, 4}).text()));
  EXPECT_TRUE(refuses("cannot be split", Ct2Text().floats(name, {0}, {}).text()));
  EXPECT_TRUE(refuses("cannot be split", Ct2Text().floats(name, {}, {1}).text()));
  EXPECT_TRUE(refuses("cannot be split", Ct2Text()
                                             .floats(name, {3}, {1, 2, 3})
                                             .tensor("encoder/layer_0/self_attention/num_heads_kv",
                                                     {}, Ct2Text::i32, bytes_of(int32_t{1}))
                                             .text()));
}

TEST(Ctranslate2, ReadsEveryType) {
  const Loaded weights(
      Ct2Text()
          .tensor("half", {2}, Ct2Text::f16, bytes_of(std::vector<uint16_t>{0x3C00, 0xC000}))
          .tensor("brain", {1}, Ct2Text::bf16, bytes_of(uint16_t{0x4040}))
          .tensor("byte", {2}, Ct2Text::i8, "\x01\xff")
          .tensor("short", {1}, Ct2Text::i16, bytes_of(int16_t{-300}))
          .tensor("int", {1}, Ct2Text::i32, bytes_of(int32_t{70000}))
          .floats("one", {}, {0.5F}));
  EXPECT_EQ(weights.values("half"), (Floats{1, -2}));
  EXPECT_EQ(weights.values("brain"), Floats{3});
  EXPECT_EQ(weights.values("byte"), (Floats{1, -1}));
  EXPECT_EQ(weights.values("short"), Floats{-300});
  EXPECT_EQ(weights.values("int"), Floats{70000});
  EXPECT_EQ(weights.values("one"), Floats{0.5F});
  EXPECT_EQ(weights->content(), "WhisperSpec");
  EXPECT_EQ(weights->format(), "ctranslate2");
}

TEST(Ctranslate2, KeepsIntegerScalarsApart) {
  const Loaded weights(
      Ct2Text()
          .tensor("encoder/num_heads", {}, Ct2Text::i16, bytes_of(int16_t{6}))
          .tensor("decoder/num_heads", {}, Ct2Text::i8, bytes_of(int8_t{8}))
          .tensor("decoder/alignment_layer", {}, Ct2Text::i16, bytes_of(int16_t{-1}))
          .tensor("large", {}, Ct2Text::i32, bytes_of(int32_t{16777217})));
  EXPECT_EQ(weights->scalar("encoder.heads"), 6);
  EXPECT_EQ(weights->scalar("decoder.heads"), 8);
  EXPECT_EQ(weights->scalar("decoder/alignment_layer"), -1);
  EXPECT_EQ(weights->scalar("large"), 16777217);  // no float holds it
  EXPECT_TRUE(weights->names().empty());
}

TEST(Ctranslate2, KeepsIntegersOfLinearLayersAndDividesOthersByTheirScales) {
  const Loaded weights(
      Ct2Text()
          .tensor("decoder/layer_0/ffn/linear_0/weight", {2, 2}, Ct2Text::i8, "\x7f\x01\x02\x80")
          .floats("decoder/layer_0/ffn/linear_0/weight_scale", {2}, {127, 2})
          .tensor("encoder/conv1/weight", {1, 1, 2}, Ct2Text::i8, "\x04\xfc")
          .floats("encoder/conv1/weight_scale", {1}, {4})
          .tensor("decoder/layer_0/ffn/linear_1/weight", {2, 1}, Ct2Text::i16,
                  bytes_of(std::vector<int16_t>{1024, -512}))
          .floats("decoder/layer_0/ffn/linear_1/weight_scale", {}, {1024})
          .tensor("decoder/embeddings/weight", {1, 1}, Ct2Text::i8, "\x10")
          .tensor("decoder/embeddings/weight_scale", {1}, Ct2Text::f16, bytes_of(uint16_t{0x4800}))
          .alias("decoder/projection/weight", "decoder/embeddings/weight")
          .alias("decoder/projection/weight_scale", "decoder/embeddings/weight_scale"));
  EXPECT_EQ(weights->names().size(), 8U);  // scales of linear layers and embeddings alone
  EXPECT_EQ(weights->get("decoder.layers.0.mlp.up.weight").type(), DType::i8);
  EXPECT_EQ(weights.values("decoder.layers.0.mlp.up.weight"), (Floats{127, 1, 2, -128}));
  EXPECT_EQ(weights.values("decoder.layers.0.mlp.up.scale"), (Floats{1.0F / 127, 0.5F}));
  EXPECT_EQ(weights.values("encoder.conv1.weight"), (Floats{1, -1}));
  EXPECT_EQ(weights.values("decoder.layers.0.mlp.down.weight"), (Floats{1, -0.5F}));
  EXPECT_EQ(weights.values("decoder.embed.weight"), Floats{16});
  EXPECT_EQ(weights.values("decoder.embed.scale"), Floats{0.125F});
  EXPECT_EQ(weights.values("head.weight"), Floats{16});
  EXPECT_EQ(weights.values("head.scale"), Floats{0.125F});
}

TEST(Ctranslate2, SplitsScalesWithTheirRows) {
  const std::string name = "decoder/layer_0/self_attention/linear_0/weight";
  const Loaded weights(Ct2Text()
                           .tensor(name, {3, 1}, Ct2Text::i8, "\x01\x02\x03")
                           .floats(name + "_scale", {3}, {1, 2, 4}));
  EXPECT_EQ(weights.values("decoder.layers.0.self.v.weight"), Floats{3});
  EXPECT_EQ(weights.values("decoder.layers.0.self.v.scale"), Floats{0.25F});
  EXPECT_EQ(weights->get("decoder.layers.0.self.q.weight").type(), DType::i8);
}

// As current converters write tied embeddings.
TEST(Ctranslate2, AnAliasHasTheScaleOfItsTensor) {
  const Loaded weights(Ct2Text()
                           .tensor("decoder/embeddings/weight", {1, 1}, Ct2Text::i8, "\x10")
                           .floats("decoder/embeddings/weight_scale", {1}, {4})
                           .alias("encoder/embeddings_0/weight", "decoder/embeddings/weight"));
  EXPECT_EQ(weights.values("encoder.embed.weight"), Floats{16});
  EXPECT_EQ(weights.values("encoder.embed.scale"), Floats{0.25F});
  EXPECT_EQ(weights->get("encoder.embed.weight").data(),
            weights->get("decoder.embed.weight").data());
}

TEST(Ctranslate2, AnAliasMayHaveItsOwnScale) {
  const Loaded weights(Ct2Text()
                           .tensor("a/weight", {1}, Ct2Text::i8, "\x08")
                           .floats("a/weight_scale", {1}, {2})
                           .floats("b/weight_scale", {1}, {8})
                           .alias("b/weight", "a/weight"));
  EXPECT_EQ(weights.values("a/weight"), Floats{4});
  EXPECT_EQ(weights.values("b/weight"), Floats{1});
}

TEST(Ctranslate2, RefusesWrongScales) {
  const auto scaled = [](const std::vector<uint32_t>& shape, const Floats& scale) {
    return Ct2Text()
        .tensor("x/weight", {2, 1}, Ct2Text::i8, "\x01\x02")
        .floats("x/weight_scale", shape, scale)
        .text();
  };
  EXPECT_TRUE(refuses("has 2 rows, but 3 scales", scaled({3}, {1, 1, 1})));
  EXPECT_TRUE(refuses("has 2 rows, but 0 scales", scaled({0}, {})));
  for (const float bad : {0.0F, -1.0F, 1e38F * 10.0F, 0.0F * (1e38F * 10.0F)}) {
    EXPECT_TRUE(refuses("not positive and finite", scaled({2}, {1, bad}))) << bad;
  }
  EXPECT_TRUE(refuses("its scale is missing",
                      Ct2Text().tensor("x/weight", {1}, Ct2Text::i8, "\x01").text()));
  EXPECT_TRUE(refuses("zero points",
                      Ct2Text()
                          .tensor("x/weight", {1}, Ct2Text::i32, bytes_of(int32_t{1}))
                          .floats("x/weight_scale", {1}, {1})
                          .floats("x/weight_zero", {1}, {1})
                          .text(),
                      ErrorCode::unsupported_model));
}

TEST(Ctranslate2, SharesTheTiedEmbedding) {
  const Loaded weights(small());
  EXPECT_EQ(weights->get("head.weight").data(), weights->get("decoder.embed.weight").data());
}

TEST(Ctranslate2, RefusesKeysThatAreValues) {
  EXPECT_TRUE(refuses("shares bytes with 'decoder.layers.0.self.v.weight'",
                      Ct2Text()
                          .floats("decoder.layers.0.self.v.weight", {1}, {1})
                          .alias("decoder.layers.0.self.k.weight", "decoder.layers.0.self.v.weight")
                          .text()));
}

TEST(Ctranslate2, RefusesWrongAliases) {
  EXPECT_TRUE(refuses("'b' is an alias of a tensor that is missing",
                      Ct2Text().floats("a", {1}, {1}).alias("b", "c").text()));
  EXPECT_TRUE(refuses("'c' is an alias of a tensor that is missing",
                      Ct2Text().floats("a", {1}, {1}).alias("b", "a").alias("c", "b").text()));
  EXPECT_TRUE(
      refuses("'a' is given twice", Ct2Text().floats("a", {1}, {1}).alias("a", "a").text()));
  EXPECT_TRUE(refuses("'b' is given twice",
                      Ct2Text().floats("a", {1}, {1}).alias("b", "a").alias("b", "a").text()));
}

TEST(Ctranslate2, RefusesDuplicates) {
  EXPECT_TRUE(
      refuses("'a' is given twice", Ct2Text().floats("a", {1}, {1}).floats("a", {1}, {1}).text()));
  EXPECT_TRUE(
      refuses("'head.weight' is given twice", Ct2Text()
                                                  .floats("head.weight", {1}, {1})
                                                  .floats("decoder/projection/weight", {1}, {1})
                                                  .text()));
  EXPECT_TRUE(refuses("'encoder.heads' is given twice",
                      Ct2Text()
                          .tensor("encoder/num_heads", {}, Ct2Text::i8, bytes_of(int8_t{1}))
                          .tensor("encoder.heads", {}, Ct2Text::i8, bytes_of(int8_t{1}))
                          .text()));
}

TEST(Ctranslate2, CutAtEveryLengthIsRefused) {
  const std::string text = small().text();
  for (size_t length = 0; length < text.size(); ++length) {
    EXPECT_TRUE(refuses("", std::string_view(text).substr(0, length))) << length;
  }
  EXPECT_TRUE(refuses("goes on for 1 bytes", text + "x"));
}

TEST(Ctranslate2, RefusesOtherVersions) {
  for (const uint32_t version : {0U, 5U, 7U, 0xFFFFFFFFU}) {
    EXPECT_TRUE(refuses("version " + std::to_string(version), small().text(version),
                        ErrorCode::unsupported_model));
  }
}

TEST(Ctranslate2, RefusesWrongSizes) {
  const auto sized = [](const std::vector<uint32_t>& shape, uint8_t type) {
    return Ct2Text().tensor("w", shape, type, "12345678").text();
  };
  EXPECT_TRUE(refuses("unknown dtype 6", sized({2}, 6)));
  EXPECT_TRUE(refuses("unknown dtype 255", sized({2}, 255)));
  EXPECT_TRUE(refuses("has 8 bytes, but its shape needs 4", sized({1}, Ct2Text::f32)));
  EXPECT_TRUE(refuses("more than 8 axes", sized(std::vector<uint32_t>(9, 1), Ct2Text::i8)));
  EXPECT_TRUE(refuses("more than 8 axes", sized(std::vector<uint32_t>(255, 1), Ct2Text::i8)));
  EXPECT_TRUE(refuses("64 bits", sized({0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF}, Ct2Text::f32)));
  EXPECT_TRUE(refuses("64 bits", sized({0, 0xFFFFFFFF, 0xFFFFFFFF, 4}, Ct2Text::f32)));
  // 2^32 elements: 32 bits would wrap to the 8 bytes that are there.
  EXPECT_TRUE(refuses("its shape needs 4294967304", sized({0x20000001, 8}, Ct2Text::i8)));
}

TEST(Ctranslate2, RefusesWrongCounts) {
  const std::string head = bytes_of(uint32_t{6}) + Ct2Text::string("S") + bytes_of(uint32_t{1});
  EXPECT_TRUE(refuses("4294967295 tensors", head + bytes_of(UINT32_MAX) + std::string(100, 'x')));
  EXPECT_TRUE(refuses("1000 aliases", head + bytes_of(uint32_t{0}) + bytes_of(uint32_t{1000})));
}

TEST(Ctranslate2, RefusesBrokenStrings) {
  EXPECT_TRUE(refuses("printable", Ct2Text().floats(std::string("a\0b", 3), {1}, {1}).text()));
  EXPECT_TRUE(refuses("printable", Ct2Text().floats("a\x1b[2J", {1}, {1}).text()));
  EXPECT_TRUE(refuses("printable", Ct2Text().floats("", {1}, {1}).text()));
  const std::string version = bytes_of(uint32_t{6});
  EXPECT_TRUE(refuses("no zero", version + bytes_of(uint16_t{0}) + std::string(20, 'x')));
  EXPECT_TRUE(refuses("no zero", version + bytes_of(uint16_t{5}) + std::string(20, 'x')));
}

}  // namespace
}  // namespace slim
