// Compute types: which one a model runs with, that it is said, and that verify measures it.
#include <gtest/gtest.h>

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
  static EngineOptions options(const std::string& type) {
    EngineOptions options;
    options.threads = 2;
    options.cache = "kv";
    options.cache_type = "f32";
    options.compute_type = type;
    return options;
  }

  TemporaryFolder folder_;
};

TEST_F(ComputeType, AutoRoundsWhereWeightsAreBytes) {
  const auto chosen = [&](const std::string& model, const std::string& type) {
    return inspect(path(model), options(type)).compute_type;
  };
  EXPECT_EQ(chosen("floats", "auto"), "float32");
  EXPECT_EQ(chosen("floats", "float32"), "float32");
  EXPECT_EQ(chosen("bytes", "auto"), "int8");
  for (const std::string type : {"float32", "int16", "int8"}) {
    EXPECT_EQ(chosen("bytes", type), type);
    EXPECT_EQ(Runtime(path("bytes"), options(type)).model().arithmetic().products,
              type == "int8"    ? Inputs::i8
              : type == "int16" ? Inputs::i16
                                : Inputs::f32);
  }
}

TEST_F(ComputeType, WhatCannotBeIsRefused) {
  for (const std::string type : {"int8", "int16"}) {
    EXPECT_TRUE(fails_with(ErrorCode::bad_request, {type, "no weights of i8"},
                           [&] { inspect(path("floats"), options(type)); }));
    EXPECT_TRUE(fails_with(ErrorCode::bad_request, {type, "no weights of i8"},
                           [&] { Engine(path("floats"), options(type)); }));
  }
  EXPECT_TRUE(fails_with(ErrorCode::bad_request,
                         {"float16", "does not multiply so", "auto, float32, int16, int8"},
                         [&] { Engine(path("bytes"), options("float16")); }));
  EXPECT_TRUE(fails_with(ErrorCode::bad_request, {"int4", "auto, float32, float16, int16, int8"},
                         [&] { inspect(path("bytes"), options("int4")); }));
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
}

}  // namespace
}  // namespace slim
