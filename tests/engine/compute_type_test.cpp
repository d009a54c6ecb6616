// Compute types: which one a model runs with, that it is said, and that verify measures it.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "engine/noise.h"
#include "engine/random_whisper.h"
#include "engine/runtime.h"
#include "error_matchers.h"
#include "slim/slim.h"
#include "temporary_folder.h"

namespace slim {
namespace {

class ComputeType : public testing::Test {
 protected:
  void SetUp() override {
    write_random_whisper(path("floats"), {});
    convert_weights(path("floats"), path("bytes"), "i8");
  }
  std::string path(const std::string& name) const { return (folder_.path() / name).string(); }
  static EngineOptions options(const std::string& type, const std::string& device = "cpu") {
    EngineOptions options;
    options.device = device;
    options.threads = 2;
    options.cache = "kv";
    options.cache_type = "f32";
    options.compute_type = type;
    return options;
  }
  std::string chosen(const std::string& model, const EngineOptions& options) const {
    return inspect(path(model), options).compute_type;
  }
  void expect_refused(const std::string& model, const EngineOptions& options,
                      std::initializer_list<std::string_view> words) const {
    EXPECT_TRUE(fails_with(ErrorCode::bad_request, words, [&] { inspect(path(model), options); }))
        << options.device << ", " << options.compute_type;
    EXPECT_TRUE(fails_with(ErrorCode::bad_request, words, [&] { Engine(path(model), options); }))
        << options.device << ", " << options.compute_type;
  }

  TemporaryFolder folder_;
};

TEST_F(ComputeType, AutoRoundsWhereWeightsAreBytesAndAttentionUnlessRowsAreF32) {
  for (const char* device : {"cpu", "cpu:scalar"}) {
    EngineOptions any = options("auto", device);
    EXPECT_EQ(chosen("floats", any), "float32") << device;
    EXPECT_EQ(chosen("bytes", any), "int8") << device;
    any.cache_type = "";
    EXPECT_EQ(chosen("floats", any), "float32_int16") << device;
    EXPECT_EQ(chosen("bytes", any), "int8_int16") << device;
  }
  EXPECT_EQ(chosen("floats", options("auto", "reference")), "float32");
  EXPECT_EQ(chosen("bytes", options("auto", "reference")), "int8");
}

// Hardly any attention of a model without an encoder heeds its inputs.
TEST_F(ComputeType, AutoAttendsInF32WithoutAnEncoder) {
  EXPECT_EQ(inspect(std::string(SLIM_TEST_DATA) + "/golden/lm/gpt2", options("auto")).compute_type,
            "float32");
}

TEST_F(ComputeType, EachIsWhatItSays) {
  struct Case {
    std::string type;
    Arithmetic arithmetic;
  };
  const std::vector<Case> cases = {{"float32", {Inputs::f32, Inputs::f32}},
                                   {"float32_int16", {Inputs::f32, Inputs::i16}},
                                   {"int16", {Inputs::i16, Inputs::i16}},
                                   {"int8", {Inputs::i8, Inputs::f32}},
                                   {"int8_int16", {Inputs::i8, Inputs::i16}}};
  for (const auto& [type, arithmetic] : cases) {
    EXPECT_EQ(chosen("bytes", options(type)), type);
    EXPECT_EQ(Runtime(path("bytes"), options(type)).model().arithmetic(), arithmetic) << type;
    if (arithmetic.products == Inputs::f32) {
      EXPECT_EQ(chosen("floats", options(type)), type);
    }
  }
}

TEST_F(ComputeType, WhatCannotBeIsRefused) {
  for (const std::string type : {"int8", "int16", "int8_int16"}) {
    expect_refused("floats", options(type), {type, "no weights of i8"});
  }
  expect_refused("bytes", options("float16"),
                 {"float16", "does not multiply so",
                  "auto, float32, float32_int16, int16, int8, int8_int16."});
  expect_refused("bytes", options("int4"),
                 {"int4", "auto, float32, float16, float32_int16, int16, int8, int8_int16."});
  for (const std::string type : {"float32_int16", "int16", "int8_int16"}) {
    expect_refused("bytes", options(type, "reference"),
                   {type, "does not multiply so", "auto, float32, int8."});
  }
}

// Rows are stored as attention multiplies them, but for keys and values apart.
TEST_F(ComputeType, RowsAreStoredAsAttentionTakesThem) {
  for (const auto& [type, kind, expected] : {std::array{"float32", "x", "f16"},
                                             {"float32_int16", "x", "i16"},
                                             {"float32_int16", "kv", "f16"}}) {
    EngineOptions any = options(type);
    any.cache = kind;
    any.cache_type = "";
    for (const LayerReport& layer : inspect(path("floats"), any).layers) {
      EXPECT_EQ(layer.row_type, expected) << type << ", " << kind << ", " << layer.attention;
    }
  }
}

// A converted model goes to other devices.
TEST_F(ComputeType, PlansThatAreStoredDoNotDependOnTheDevice) {
  for (const auto& [type, expected] : {std::array{"auto", "f16"}, {"float32_int16", "i16"}}) {
    EngineOptions any = options(type);
    any.cache = "auto";
    any.cache_type = "";
    const Conversion made = convert(path("bytes"), path("converted " + std::string(type)), any);
    ASSERT_FALSE(made.layers.empty());
    for (const LayerReport& layer : made.layers) EXPECT_EQ(layer.row_type, expected) << type;
  }
}

// Of kv in f32, rounding is all that verify finds: of the encoder, too.
TEST_F(ComputeType, VerifyMeasuresRounding) {
  write_wav(path("noise.wav"), noise(80000, 3));
  TranscribeOptions greedy;
  greedy.max_tokens = 12;
  const auto measured = [&](const std::string& type) {
    Engine engine(path("bytes"), options(type));
    Verification result = engine.verify(path("noise.wav"), greedy);
    EXPECT_EQ(result.compute_type, type);
    return result;
  };
  const Verification plain = measured("float32");
  const Verification fine = measured("int16");
  const Verification coarse = measured("int8");
  EXPECT_EQ(plain.logit_max, 0.0);
  EXPECT_GT(fine.logit_max, 0.0);
  EXPECT_LT(fine.logit_rel, 1e-3);
  EXPECT_GT(coarse.logit_max, 16 * fine.logit_max);
  EXPECT_LT(coarse.logit_rel, 0.1);
  const Verification attention = measured("float32_int16");
  EXPECT_GT(attention.logit_max, 0.0);
  EXPECT_LT(attention.logit_max, fine.logit_max);
  const Verification both = measured("int8_int16");
  EXPECT_NE(both.logit_max, coarse.logit_max);
  EXPECT_LT(both.logit_rel, 0.1);
}

}  // namespace
}  // namespace slim
