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

// Whether this processor multiplies attention in bf16.
bool has_bfloat16() { return make_kernels("cpu", 1)->takes(Inputs::bf16); }

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

TEST_F(ComputeType, AutoRoundsWhereWeightsAreBytes) {
  EXPECT_EQ(chosen("floats", options("auto")), "float32");
  EXPECT_EQ(chosen("bytes", options("auto")), has_bfloat16() ? "int8_bfloat16" : "int8");
  for (const char* device : {"reference", "cpu:scalar"}) {
    EXPECT_EQ(chosen("floats", options("auto", device)), "float32") << device;
    EXPECT_EQ(chosen("bytes", options("auto", device)), "int8") << device;
  }
}

TEST_F(ComputeType, EachIsWhatItSays) {
  struct Case {
    std::string type;
    Arithmetic arithmetic;
  };
  const std::vector<Case> cases = {{"float32", {Inputs::f32, Inputs::f32}},
                                   {"bfloat16", {Inputs::f32, Inputs::bf16}},
                                   {"int16", {Inputs::i16, Inputs::f32}},
                                   {"int8", {Inputs::i8, Inputs::f32}},
                                   {"int8_bfloat16", {Inputs::i8, Inputs::bf16}}};
  for (const auto& [type, arithmetic] : cases) {
    if (arithmetic.attention == Inputs::bf16 && !has_bfloat16()) continue;
    EXPECT_EQ(chosen("bytes", options(type)), type);
    EXPECT_EQ(Runtime(path("bytes"), options(type)).model().arithmetic(), arithmetic) << type;
    if (arithmetic.products == Inputs::f32) {
      EXPECT_EQ(chosen("floats", options(type)), type);
    }
  }
}

TEST_F(ComputeType, WhatCannotBeIsRefused) {
  for (const std::string type : {"int8", "int16"}) {
    expect_refused("floats", options(type), {type, "no weights of i8"});
  }
  if (has_bfloat16()) {
    expect_refused("floats", options("int8_bfloat16"), {"int8_bfloat16", "no weights of i8"});
  }
  expect_refused("bytes", options("float16"),
                 {"float16", "does not multiply so",
                  has_bfloat16() ? "auto, float32, bfloat16, int16, int8, int8_bfloat16."
                                 : "auto, float32, int16, int8."});
  expect_refused("bytes", options("int4"),
                 {"int4", "auto, float32, float16, bfloat16, int16, int8, int8_bfloat16."});
}

TEST_F(ComputeType, BfloatIsRefusedWhereNothingMultipliesSo) {
  const std::vector<std::string> devices = kernel_names();
  for (const std::string device : {"reference", "cpu:scalar", "cpu:avx2"}) {
    if (std::find(devices.begin(), devices.end(), device) == devices.end()) continue;
    for (const std::string type : {"bfloat16", "int8_bfloat16"}) {
      expect_refused("bytes", options(type, device),
                     {type, "does not multiply so", "auto, float32, int16, int8."});
    }
    expect_refused("floats", options("bfloat16", device), {"bfloat16", "auto, float32."});
  }
}

// Rows are stored as attention multiplies them, but for keys and values apart.
TEST_F(ComputeType, BfloatTakesItsRowsAsTheyLie) {
  if (!has_bfloat16()) GTEST_SKIP() << "this processor has no instruction for products of bf16";
  for (const auto& [type, kind, expected] :
       {std::array{"float32", "x", "f16"}, {"bfloat16", "x", "bf16"}, {"bfloat16", "kv", "f16"}}) {
    EngineOptions any = options(type);
    any.cache = kind;
    any.cache_type = "";
    for (const LayerReport& layer : inspect(path("floats"), any).layers) {
      EXPECT_EQ(layer.row_type, expected) << type << ", " << kind << ", " << layer.attention;
    }
  }
}

// A converted model goes to other machines.
TEST_F(ComputeType, PlansThatAreStoredDoNotDependOnTheProcessor) {
  for (const auto& [type, expected] : {std::array{"auto", "f16"}, {"bfloat16", "bf16"}}) {
    if (type != std::string("auto") && !has_bfloat16()) continue;
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
  if (!has_bfloat16()) return;
  const Verification attention = measured("bfloat16");
  EXPECT_GT(attention.logit_max, fine.logit_max);
  EXPECT_LT(attention.logit_rel, 0.01);
  const Verification both = measured("int8_bfloat16");
  EXPECT_NE(both.logit_max, coarse.logit_max);
  EXPECT_LT(both.logit_rel, 0.1);
}

}  // namespace
}  // namespace slim
