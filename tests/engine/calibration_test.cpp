// Plans chosen by measurement: on the trained fixture, whose predictions are cautious, and the
// requests in which there is nothing to measure.
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>

#include "engine/random_llama.h"
#include "engine/random_whisper.h"
#include "error_matchers.h"
#include "slim/slim.h"
#include "temporary_folder.h"

namespace slim {
namespace {

const std::string kModel = std::string(SLIM_TEST_DATA) + "/golden/trained";

EngineOptions cache(const std::string& kind = "auto", const std::string& type = {}) {
  EngineOptions options;
  options.cache = kind;
  options.cache_type = type;
  options.threads = 2;
  return options;
}

int64_t bytes_of(const std::vector<LayerReport>& layers) {
  int64_t bytes = 0;
  for (const LayerReport& layer : layers) bytes += layer.bytes_per_token;
  return bytes;
}

std::string rows_of(const std::vector<LayerReport>& layers) {
  std::string text;
  for (const LayerReport& layer : layers) {
    text += layer.kind + " " + layer.row_type + " " + std::to_string(layer.spill) + " " +
            std::to_string(layer.rank) + "\n";
  }
  return text;
}

class CalibrationTest : public testing::Test {
 protected:
  // The second half of the held-out text is for calibration, the first for verification.
  static void SetUpTestSuite() {
    folder = new TemporaryFolder;
    std::ifstream file(kModel + "/heldout.txt", std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    folder->write("first.txt", text.substr(0, text.size() / 2));
    folder->write("second.txt", text.substr(text.size() / 2));
  }
  static void TearDownTestSuite() { delete folder; }

  static std::string path(const std::string& name) { return (folder->path() / name).string(); }
  static EngineOptions measured(EngineOptions options, double budget = 1) {
    options.calibration = path("second.txt");
    options.cache_budget = budget;
    return options;
  }
  static testing::AssertionResult refused(const std::string& model, const EngineOptions& options,
                                          std::string_view word) {
    return fails_with(ErrorCode::bad_request, {"calibration", word},
                      [&] { Engine(model, options); });
  }

  static TemporaryFolder* folder;
};
TemporaryFolder* CalibrationTest::folder = nullptr;

TEST_F(CalibrationTest, TheMeasuredPlanKeepsTheBudgetOnOtherText) {
  ScoreOptions score;
  score.context = 512;
  const auto verify = [&](const EngineOptions& options) {
    return Engine(kModel, options).verify_text(path("first.txt"), score);
  };
  const Verification chosen = verify(measured(cache()));
  EXPECT_LT(chosen.kl_mean, verify(cache("kv", "bf16")).kl_mean);
  EXPECT_LT(chosen.bytes_per_token, verify(cache()).bytes_per_token);
  for (const LayerReport& layer : chosen.layers) EXPECT_EQ(layer.kind, "k");
}

TEST_F(CalibrationTest, RowsAreNoLargerThanPredictedOnes) {
  for (const double budget : {0.5, 1.0, 8.0}) {
    EngineOptions predicted = cache();
    predicted.cache_budget = budget;
    const Inspection chosen = inspect(kModel, measured(cache(), budget));
    EXPECT_LE(bytes_of(chosen.layers), bytes_of(inspect(kModel, predicted).layers)) << budget;
    ASSERT_TRUE(chosen.calibration.has_value());
    EXPECT_EQ(chosen.calibration->tokens, 1024);
    EXPECT_GT(chosen.calibration->kv_kl, 0);
    EXPECT_LE(chosen.calibration->kl, budget * budget * chosen.calibration->kv_kl) << budget;
    EXPECT_GE(chosen.calibration->predicted_budget, budget);
  }
  EXPECT_FALSE(inspect(kModel, cache()).calibration.has_value());
}

TEST_F(CalibrationTest, ItMeasuresWhatVerifyMeasures) {
  const Inspection chosen = inspect(kModel, measured(cache()));
  ScoreOptions score;
  score.context = 512;
  score.max_tokens = 1024;
  Engine engine(kModel, measured(cache()));
  const Verification same = engine.verify_text(path("second.txt"), score);
  EXPECT_EQ(same.tokens, chosen.calibration->tokens);
  EXPECT_DOUBLE_EQ(same.kl_mean, chosen.calibration->kl);
  EXPECT_EQ(rows_of(same.layers), rows_of(chosen.layers));
}

TEST_F(CalibrationTest, WhatIsGivenIsKept) {
  EngineOptions options = cache("k", "i10");
  options.spill = 16;
  for (const LayerReport& layer : inspect(kModel, measured(options)).layers) {
    EXPECT_EQ(layer.row_type, "i10");
    EXPECT_EQ(layer.spill, 16);
    EXPECT_EQ(layer.rank, 0) << "the smallest is enough";
  }
}

// At a hundredth of the error of kv in bf16, i16 keys are predicted to do, and measured not to.
TEST_F(CalibrationTest, AMissedBudgetIsSaid) {
  const Inspection standard = inspect(kModel, measured(cache(), 0.01));
  for (const LayerReport& layer : standard.layers) {
    EXPECT_EQ(layer.kind, "kv");
    EXPECT_NE(layer.reason.find("measured KL"), std::string::npos) << layer.reason;
  }
  EXPECT_EQ(standard.calibration->predicted_budget, 0);
  EXPECT_TRUE(fails_with(ErrorCode::bad_request, {"second.txt", "measured KL"},
                         [&] { Engine(kModel, measured(cache("k"), 0.01)); }));
  const Inspection named = inspect(kModel, measured(cache("k", "i12"), 0.01));
  for (const LayerReport& layer : named.layers) {
    EXPECT_EQ(layer.row_type, "i12");
    EXPECT_NE(layer.reason.find("measured KL"), std::string::npos) << layer.reason;
  }
  EXPECT_GT(named.calibration->kl, 1e-4 * named.calibration->kv_kl);
  EXPECT_LT(named.calibration->kl, named.calibration->kv_kl);
}

// Where no keys are predicted to be near the budget there is nothing to try: as without a text.
TEST_F(CalibrationTest, AHopelessBudgetIsThatOfPlans) {
  EngineOptions predicted = cache();
  predicted.cache_budget = 1e-6;
  EXPECT_EQ(rows_of(inspect(kModel, measured(cache(), 1e-6)).layers),
            rows_of(inspect(kModel, predicted).layers));
  EXPECT_TRUE(fails_with(ErrorCode::bad_request, {"layer 0", "budget"},
                         [&] { Engine(kModel, measured(cache("k"), 1e-6)); }));
}

TEST_F(CalibrationTest, AConvertedModelHasTheMeasuredPlan) {
  const Conversion made = convert(kModel, path("stored"), measured(cache()));
  ASSERT_TRUE(made.calibration.has_value());
  EXPECT_EQ(rows_of(inspect(path("stored"), cache()).layers), rows_of(made.layers));
  EXPECT_EQ(rows_of(inspect(kModel, measured(cache())).layers), rows_of(made.layers));
  EXPECT_TRUE(refused(path("stored"), measured(cache()), "converted"));
}

TEST_F(CalibrationTest, WhereNothingIsLeftToChooseItIsRefused) {
  EngineOptions fixed = cache("k", "i12");
  fixed.spill = 8;
  fixed.rank = 0;
  EXPECT_TRUE(refused(kModel, measured(fixed), "rank"));
  EXPECT_TRUE(refused(kModel, measured(cache("kv")), "seal"));
  EXPECT_TRUE(refused(kModel, measured(cache("k", "f32")), "seal"));
  RandomLlama shared;
  shared.key_heads = 2;
  write_random_llama(folder->path() / "shared", shared);
  EXPECT_TRUE(refused(path("shared"), measured(cache()), "seal"));
  write_random_whisper(folder->path() / "speech", {});
  EXPECT_TRUE(refused(path("speech"), measured(cache()), "speech"));
}

TEST_F(CalibrationTest, BadTextsAreSentences) {
  folder->write("empty.txt", "");
  folder->write("short.txt", std::string(100, 'a'));
  EngineOptions options = cache();
  const auto load = [&](const std::string& name) {
    options.calibration = path(name);
    Engine(kModel, options);
  };
  EXPECT_TRUE(fails_with(ErrorCode::bad_request, {"empty.txt"}, [&] { load("empty.txt"); }));
  EXPECT_TRUE(fails_with(ErrorCode::bad_request, {"short.txt", "100 tokens", "128"},
                         [&] { load("short.txt"); }));
  EXPECT_TRUE(fails_with(ErrorCode::bad_file, {"nowhere.txt"}, [&] { load("nowhere.txt"); }));
  options.calibration = path("second.txt");
  EXPECT_TRUE(fails_with(ErrorCode::bad_file, {"config.json", "weights"},
                         [&] { inspect(kModel + "/config.json", options); }));
}

}  // namespace
}  // namespace slim
