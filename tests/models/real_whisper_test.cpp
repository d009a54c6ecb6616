// The published models, where they are present (models/, fetched by hand): sizes, and that kv and x
// rows give the same logits on a real encoder's output.
#include <gtest/gtest.h>

#include <cmath>

#include "models/golden.h"

namespace slim::test {
namespace {

struct Published {
  std::string name;
  int64_t layers, width, heads, vocabulary;
};

class RealWhisper : public testing::TestWithParam<Published> {
 protected:
  void SetUp() override {
    directory_ = std::filesystem::path(SLIM_MODELS) / GetParam().name;
    if (!std::filesystem::exists(directory_ / "model.bin")) {
      GTEST_SKIP() << "models/" << GetParam().name << " is not here";
    }
  }
  std::filesystem::path directory_;
};

TEST_P(RealWhisper, HasThePublishedSizes) {
  const ModelSpec spec = open_model(directory_).spec;
  EXPECT_EQ(spec.vocabulary, GetParam().vocabulary);
  EXPECT_EQ(spec.mel_bins, 80);
  EXPECT_EQ(spec.encoder.positions, 1500);
  EXPECT_EQ(spec.decoder.positions, 448);
  for (const StackSpec& stack : {spec.encoder, spec.decoder}) {
    EXPECT_EQ(stack.layers, GetParam().layers);
    EXPECT_EQ(stack.width, GetParam().width);
    EXPECT_EQ(stack.heads, GetParam().heads);
    EXPECT_EQ(stack.mlp_width, 4 * GetParam().width);
  }
  EXPECT_FALSE(spec.alignment_heads.empty());
}

// A tenth of a window keeps the reference kernels out of the minutes; f32 rows, so that kv and x
// differ by the order of f32 sums only (measured 1e-6 of the largest logit).
TEST_P(RealWhisper, DecodesAlikeUnderKvAndX) {
  constexpr int64_t kFrames = 300;
  Tensor mel = Tensor::allocate(host_device(), DType::f32, {kFrames, 80});
  for (int64_t i = 0; i < mel.elements(); ++i) {
    mel.writable<float>()[i] =
        std::sin(0.37F * static_cast<float>(i % 80) + 0.05F * static_cast<float>(i / 80));
  }
  const std::vector<int32_t> tokens = {50257, 50362, 440, 2068, 7586, 21831};
  std::vector<Tensor> logits;
  for (const char* kind : {"kv", "x"}) {
    const Loaded loaded(directory_, "cpu", cache(kind, RowType::f32));
    const Tensor encoded = loaded.model->encode(mel.matrix(), 1);
    Decoding decoding(*loaded.model, encoded.matrix(), 1);
    decoding.step({std::span(tokens).first(3)});
    for (size_t i = 3; i < tokens.size(); ++i) {
      Tensor next = decoding.step({std::span(tokens).subspan(i, 1)});
      if (i + 1 == tokens.size()) logits.push_back(std::move(next));
    }
  }
  EXPECT_TRUE(std::isfinite(largest(floats(logits[0]))));
  EXPECT_GT(largest(floats(logits[0])), 1.0F);
  EXPECT_LT(relative_difference(floats(logits[1]), floats(logits[0])), 1e-4F);
}

INSTANTIATE_TEST_SUITE_P(All, RealWhisper,
                         testing::Values(Published{"whisper-tiny.en", 4, 384, 6, 51864},
                                         Published{"whisper-base", 6, 512, 8, 51865}),
                         [](const testing::TestParamInfo<Published>& instance) {
                           return instance.param.layers == 4 ? "tiny_en" : "base";
                         });

}  // namespace
}  // namespace slim::test
