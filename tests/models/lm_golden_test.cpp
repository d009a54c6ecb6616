// Every golden language model (tests/golden/lm: a folder each), on the reference, the CPU and the
// card's kernels, under every cache kind and row type that fits it, against Transformers in
// float64: prefilled in one go, in chunks, and token by token, two sequences in a step.
//
// Tolerances are relative to the largest |logit|: kExact for arithmetic (golden.h). Rounded rows
// add what their plan predicts (allowed_difference()); where it predicts nothing, nothing is
// promised.
#include <gtest/gtest.h>

#include <algorithm>

#include "models/golden_model.h"

namespace slim::test {
namespace {

// Keys without rotation are planned for nobody (x rows fit there), and nothing is promised of them.
bool is_predicted(const Model& model) {
  return std::all_of(model.plan().begin(), model.plan().end(),
                     [](const LayerPlan& layer) { return layer.predicted_error.has_value(); });
}

class LmGolden : public GoldenModel {
 protected:
  // As long as the expected sequences: dynamic angles depend on it.
  std::unique_ptr<Model> build(const CacheChoice& choice) const {
    return GoldenModel::build(choice, scored_.length());
  }

  std::vector<int64_t> chunks() const { return {scored_.length(), 37, 1}; }

  Scored scored_ = read_scored(GetParam().directory / "expected");
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
        EXPECT_LT(difference, allowed_difference(*model))
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

INSTANTIATE_TEST_SUITE_P(All, LmGolden, testing::ValuesIn(golden_cases("lm")), golden_case_name);

}  // namespace
}  // namespace slim::test
