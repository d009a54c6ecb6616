// whisper.cpp's ggml files: canonical names, every type of tensor, and hostile files. That models
// in them compute what they should is whisper_golden_test.cpp's.
#include "weights/ggml.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "error_matchers.h"
#include "weights/weights_text.h"

namespace slim {
namespace {

using Floats = std::vector<float>;
using Names = std::vector<std::string>;

// The least that agrees with the head of the file.
GgmlText small() {
  GgmlText text;
  text.token("a").token(std::string_view("\xff\0", 2));
  text.floats("decoder.token_embedding.weight", {1, 3}, {1, 2, 3})
      .floats("encoder.conv1.weight", {3, 1, 1}, {4, 5, 6});
  for (const std::string side : {"encoder", "decoder"}) {
    text.floats(side + ".positional_embedding", {1, 2}, {7, 8})
        .floats(side + ".blocks.0.mlp.0.weight", {1, 2}, {9, 10});
  }
  return text;
}

using Loaded = LoadedText<read_ggml>;

testing::AssertionResult refuses(std::string_view why, std::string_view text,
                                 ErrorCode code = ErrorCode::bad_file) {
  const MemoryFile memory(text);
  return fails_with(code, {"memory", why}, [&] { read_ggml(memory.file()); });
}

TEST(Ggml, GivesCanonicalNamesAndShapes) {
  GgmlText text = small();
  for (const std::string part : {"attn_ln", "attn.query", "attn.out", "cross_attn_ln",
                                 "cross_attn.key", "cross_attn.value", "mlp_ln", "mlp.2"}) {
    text.floats("decoder.blocks.0." + part + ".bias", {2}, {1, 2});
  }
  text.floats("encoder.conv2.bias", {1, 2}, {1, 2}).floats("encoder.ln_post.weight", {1}, {1});
  text.floats("decoder.ln.bias", {1}, {1}).floats("decoder.blocks.x.ln", {1}, {1});
  const Loaded weights(text);
  EXPECT_EQ(
      weights->names(),
      (Names{"decoder.blocks.x.ln", "decoder.embed.weight", "decoder.layers.0.cross.k.bias",
             "decoder.layers.0.cross.norm.bias", "decoder.layers.0.cross.v.bias",
             "decoder.layers.0.mlp.down.bias", "decoder.layers.0.mlp.norm.bias",
             "decoder.layers.0.mlp.up.weight", "decoder.layers.0.self.norm.bias",
             "decoder.layers.0.self.out.bias", "decoder.layers.0.self.q.bias", "decoder.norm.bias",
             "decoder.positions.weight", "encoder.conv1.weight", "encoder.conv2.bias",
             "encoder.layers.0.mlp.up.weight", "encoder.norm.weight", "encoder.positions.weight"}));
  EXPECT_EQ(weights->get("encoder.conv1.weight").shape(), (std::vector<int64_t>{1, 1, 3}));
  EXPECT_EQ(weights->get("encoder.conv2.bias").shape(), (std::vector<int64_t>{2}));
  EXPECT_EQ(weights.values("decoder.embed.weight"), (Floats{1, 2, 3}));
  EXPECT_EQ(weights->scalar("decoder.heads"), 1);
  EXPECT_EQ(weights->content(), "WhisperSpec");
}

TEST(Ggml, KeepsTokensAndFilters) {
  for (size_t shift = 0; shift < 4; ++shift) {
    const Loaded weights(small(), shift);
    ASSERT_NE(weights->extras(), nullptr);
    EXPECT_EQ(weights->extras()->tokens,
              (std::vector<std::string_view>{"a", std::string_view("\xff\0", 2)}));
    EXPECT_EQ(values_of(weights->extras()->mel_filters), (Floats{0.5F, 0.25F}));
    EXPECT_EQ(weights->renamed({})->extras(), weights->extras());
  }
}

// Blocks of 32 by the layouts of ggml_blocks.h: scale 0.5, minimum -3, low nibbles 0 to 15, high
// ones 15 to 0, and every third fifth bit.
TEST(Ggml, UnpacksBlocksThatNoKernelMultiplies) {
  const std::string scale = bytes_of(to_half(0.5F).bits);
  const std::string minimum = bytes_of(to_half(-3.0F).bits);
  const std::string fifth = bytes_of(uint32_t{0x49249249});
  std::string nibbles;
  for (uint32_t i = 0; i < 16; ++i) nibbles += static_cast<char>(i | (15 - i) << 4);
  GgmlText text = small();
  text.type = 2000;
  text.tensor("q4_1", {32, 1}, 3, scale + minimum + nibbles);
  text.tensor("q5_0", {32, 1}, 6, scale + fifth + nibbles);
  text.tensor("q5_1", {32, 2}, 7,
              scale + minimum + fifth + nibbles + scale + minimum + fifth + nibbles);
  const Loaded weights(text);
  Floats q4_1, q5_0, q5_1;
  for (int i = 0; i < 32; ++i) {
    const int nibble = i < 16 ? i : 31 - i;
    const int whole = nibble + (i % 3 == 0 ? 16 : 0);
    q4_1.push_back(0.5F * static_cast<float>(nibble) - 3.0F);
    q5_0.push_back(0.5F * static_cast<float>(whole - 16));
    q5_1.push_back(0.5F * static_cast<float>(whole) - 3.0F);
  }
  q5_1.insert(q5_1.end(), q5_1.begin(), q5_1.begin() + 32);
  EXPECT_EQ(weights.values("q4_1"), q4_1);
  EXPECT_EQ(weights.values("q5_0"), q5_0);
  EXPECT_EQ(weights.values("q5_1"), q5_1);
  EXPECT_EQ(weights->get("q5_1").shape(), (std::vector<int64_t>{2, 32}));
  EXPECT_EQ(weights->scalar("unpacked tensors"), 3);
}

TEST(Ggml, LeavesOtherTypesAsTheyAre) {
  GgmlText text = small();
  text.type = 2008;
  text.tensor("f16", {2}, 1, bytes_of(std::vector<uint16_t>{0x3C00, 0xC000}));
  text.tensor("q8_0", {32}, 8, bytes_of(to_half(2.0F).bits) + std::string(32, '\3'));
  text.tensor("q4_0", {32}, 2, bytes_of(to_half(2.0F).bits) + std::string(16, '\x99'));
  const Loaded weights(text);
  EXPECT_EQ(weights->get("f16").type(), DType::f16);
  EXPECT_EQ(weights.values("f16"), (Floats{1, -2}));
  EXPECT_EQ(weights->get("q8_0").type(), DType::q8_0);
  EXPECT_EQ(weights.values("q8_0"), Floats(32, 6));
  EXPECT_EQ(weights->get("q4_0").type(), DType::q4_0);
  EXPECT_EQ(weights.values("q4_0"), Floats(32, 2));
  EXPECT_EQ(weights->scalar("unpacked tensors"), 0);
}

// A file that ends between two tensors lacks some; every other cut is in the midst of something.
TEST(Ggml, CutAtEveryLengthIsRefused) {
  const std::string text = small().text();
  for (size_t length = 0; length < text.size(); ++length) {
    EXPECT_TRUE(refuses("", std::string_view(text).substr(0, length))) << length;
  }
  EXPECT_TRUE(refuses("The file is cut", text + "x"));
}

TEST(Ggml, RefusesWhatIsNoModel) {
  GgmlText text = small();
  text.magic = 0x46554747;
  EXPECT_TRUE(refuses("does not begin as", text.text()));
  text = small();
  text.type = 8;  // blocks without a version
  EXPECT_TRUE(refuses("version 0", text.text(), ErrorCode::unsupported_model));
  text.type = 1008;
  EXPECT_TRUE(refuses("version 1", text.text(), ErrorCode::unsupported_model));
}

TEST(Ggml, RefusesSizesThatTensorsContradict) {
  for (size_t i = 0; i < GgmlText().sizes.size(); ++i) {
    for (const int32_t wrong : {0, -1, INT32_MIN, INT32_MAX}) {
      GgmlText text = small();
      text.sizes[i] = wrong;
      EXPECT_TRUE(refuses(std::to_string(wrong), text.text())) << i;
    }
    if (i == 3 || i == 7) continue;  // heads show in no tensor's shape
    GgmlText text = small();
    ++text.sizes[i];
    EXPECT_TRUE(refuses("", text.text())) << i;
  }
  GgmlText more = small();
  more.floats("encoder.blocks.1.mlp.0.weight", {1, 2}, {9, 10});
  EXPECT_TRUE(refuses("more than the 1 encoder layers", more.text()));
}

TEST(Ggml, RefusesWrongListsAndFilters) {
  GgmlText text = small();
  text.bins = 2;
  EXPECT_TRUE(refuses("2 mel filters for 1 mel bins", text.text()));
  text = small();
  text.frequencies = 1 << 20;
  EXPECT_TRUE(refuses("The file is cut", text.text()));
  text = small();
  text.token_count = -1;
  EXPECT_TRUE(refuses("4294967295 tokens", text.text()));
  EXPECT_TRUE(refuses("lists 4 tokens", small().token("b").token("c").text()));
}

TEST(Ggml, RefusesWrongTensors) {
  const auto with = [](std::string_view name, const std::vector<int32_t>& sizes, int32_t type,
                       const std::string& data) {
    return small().tensor(name, sizes, type, data).text();
  };
  for (const int32_t type : {4, 5, 9, 10, 30, -1}) {
    EXPECT_TRUE(refuses("'w' is of type", with("w", {32}, type, std::string(200, 'x')),
                        ErrorCode::unsupported_model));
  }
  EXPECT_TRUE(refuses("negative size", with("w", {-1}, 0, "1234")));
  EXPECT_TRUE(refuses("64 bits", with("w", {INT32_MAX, INT32_MAX, INT32_MAX}, 0, "1234")));
  EXPECT_TRUE(refuses("64 bits", with("w", {0, INT32_MAX, INT32_MAX, INT32_MAX}, 6, "")));
  EXPECT_TRUE(refuses("The file is cut", with("w", {32, 1 << 30}, 6, "1234")));
  EXPECT_TRUE(refuses("blocks of 32", with("w", {16}, 6, std::string(22, 'x'))));
  EXPECT_TRUE(refuses("blocks of 32", with("w", {}, 7, std::string(24, 'x'))));
  EXPECT_TRUE(refuses("blocks of 32", with("w", {16}, 8, std::string(34, 'x'))));
  EXPECT_TRUE(refuses("more than 8 axes", with("w", std::vector<int32_t>(9, 1), 0, "1234")));
  EXPECT_TRUE(refuses("printable", with("a\x1b[2J", {1}, 0, "1234")));
  EXPECT_TRUE(refuses("printable", with("", {1}, 0, "1234")));
  EXPECT_TRUE(
      refuses("'w' is given twice", small().floats("w", {1}, {1}).floats("w", {1}, {1}).text()));
}

}  // namespace
}  // namespace slim
