// Every golden language model (tests/golden/lm: a folder each), on the reference, the CPU and the
// card's kernels, under every cache kind and row type that fits it, against Transformers in
// float64: prefilled in one go, in chunks, and token by token, two sequences in a step.
//
// Tolerances are relative to the largest |logit|: kExact for arithmetic (golden.h). Rounded rows
// add what their plan predicts for each layer, times kGrowth: a prediction is a root mean square,
// the worst of 4000 logits lies four deviations out, and later layers see errors as well (measured:
// up to 8.6, for k in i16). Where a plan predicts nothing, nothing is promised.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "kernels/staged_kernels.h"
#include "models/golden.h"
#include "slim/error.h"

namespace slim::test {
namespace {

namespace fs = std::filesystem;

constexpr double kGrowth = 12;

fs::path golden_models() { return fs::path(SLIM_TEST_DATA) / "golden" / "lm"; }

// What rounding rows may cost, by the plan's own prediction.
float allowed(const Model& model) {
  return kExact + static_cast<float>(kGrowth * predicted_error(model));
}

// Keys without rotation are planned for nobody (x rows fit there), and nothing is promised of them.
bool is_predicted(const Model& model) {
  return std::all_of(model.plan().begin(), model.plan().end(),
                     [](const LayerPlan& layer) { return layer.predicted_error.has_value(); });
}

struct Case {
  std::string model;
  std::string kernels;

  friend void PrintTo(const Case& item, std::ostream* stream) {
    *stream << item.model << " " << item.kernels;
  }
};

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const fs::directory_entry& folder : fs::directory_iterator(golden_models())) {
    for (const char* kernels : {"reference", "cpu", "cuda"}) {
      all.push_back({folder.path().filename().string(), kernels});
    }
  }
  std::sort(all.begin(), all.end(), [](const Case& a, const Case& b) { return a.model < b.model; });
  return all;
}

class LmGolden : public testing::TestWithParam<Case> {
 protected:
  LmGolden()
      : files_(open_model(golden_models() / GetParam().model)),
        weights_(std::make_shared<const ModelWeights>(files_.spec, *files_.checkpoint)),
        kernels_(device_kernels(GetParam().kernels, 2)) {}

  void SetUp() override {
    if (kernels_ == nullptr) GTEST_SKIP() << kNoCard;
  }

  // As long as the expected sequences: dynamic angles depend on it. Null if the choice does not
  // fit.
  std::unique_ptr<Model> build(const CacheChoice& choice) const {
    try {
      return std::make_unique<Model>(files_.spec, weights_, *kernels_, choice, scored_.length());
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::bad_request) << error.what();
      return nullptr;
    }
  }

  std::vector<int64_t> chunks() const { return {scored_.length(), 37, 1}; }

  Scored scored_ = read_scored(golden_models() / GetParam().model / "expected");
  ModelFiles files_;
  std::shared_ptr<const ModelWeights> weights_;
  std::unique_ptr<Kernels> kernels_;
};

TEST_P(LmGolden, ComputesWhatTransformersDoes) {
  const std::unique_ptr<Model> model = build(cache("kv", RowType::f32));
  ASSERT_NE(model, nullptr);
  for (const int64_t chunk : chunks()) {
    EXPECT_LT(decode_difference(*model, scored_, chunk), kExact) << chunk << " tokens a step";
  }
}

TEST_P(LmGolden, StaysWithinWhatThePlanPredictsUnderEveryKind) {
  int fitting = 0;
  for (const char* kind : {"kv", "k", "x", "auto"}) {
    for (const RowType type :
         {RowType::f32, RowType::f16, RowType::bf16, RowType::i16, RowType::i12, RowType::i8}) {
      const std::unique_ptr<Model> model = build(cache(kind, type));
      if (model == nullptr || !is_predicted(*model)) continue;
      ++fitting;
      for (const int64_t chunk : chunks()) {
        const float difference = decode_difference(*model, scored_, chunk);
        EXPECT_LT(difference, allowed(*model))
            << kind << " " << name_of(type) << ", " << chunk << " tokens a step";
      }
    }
  }
  EXPECT_GE(fitting, 4);
}

TEST_P(LmGolden, FitsTheKindItsPositionsAllow) {
  const StackSpec& stack = files_.spec.decoder;
  const bool rotary = stack.position_kind == Positions::rotary;
  const bool multi_head = stack.key_head_count() == stack.heads;
  const std::unique_ptr<Model> model = build({});
  ASSERT_NE(model, nullptr);
  for (const LayerPlan& layer : model->plan()) {
    const bool clipped = stack.clip > 0;
    EXPECT_EQ(layer.kind, !multi_head || clipped ? "kv" : rotary ? "k" : "x") << layer.reason;
  }
}

INSTANTIATE_TEST_SUITE_P(All, LmGolden, testing::ValuesIn(cases()),
                         [](const testing::TestParamInfo<Case>& instance) {
                           return instance.param.model + "_" + instance.param.kernels;
                         });

}  // namespace
}  // namespace slim::test
