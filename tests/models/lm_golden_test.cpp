// Every golden language model (tests/golden/lm: a folder each), on the reference and the CPU
// kernels, under every cache kind and row type that fits it, against Transformers in float64:
// prefilled in one go, in chunks, and token by token, two sequences in a step.
//
// Tolerances are relative to the largest |logit| (3 to 11 here). Weights are exact on both sides,
// so with kv in f32 only arithmetic differs, as in the Whisper models (1e-5 there), and angles:
// those of Transformers are products in f32, 150 * 2^-24 = 9e-6 off at the last position, times a
// score of up to 20. Rounded rows add what their plan predicts for each layer, times kGrowth: a
// prediction may be a root mean square, and the worst of 4000 logits lies four deviations out; and
// later layers see errors as well (measured: up to 8.6, for k in i16). Where a plan predicts
// nothing, nothing is promised.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "models/golden.h"
#include "slim/error.h"

namespace slim::test {
namespace {

namespace fs = std::filesystem;

constexpr float kExact = 5e-5F;
constexpr double kGrowth = 12;

fs::path golden_models() { return fs::path(SLIM_TEST_DATA) / "golden" / "lm"; }

struct Scored {
  std::vector<std::vector<int32_t>> tokens;  // by sequence, equally long
  std::vector<int64_t> at;                   // positions that logits are given for, ascending
  Tensor logits;                             // [sequences * at.size(), V]

  int64_t length() const { return std::ssize(tokens.front()); }
};

Scored read_scored(const std::string& model) {
  const auto file = Checkpoint::open(golden_models() / model / "expected");
  Scored scored;
  const Tensor& tokens = file->get("tokens", {-1, -1});
  for (int64_t i = 0; i < tokens.size(0); ++i) {
    const Tensor row = tokens.slice(i, 1);
    const std::span<const float> values = floats(row);
    scored.tokens.emplace_back(values.begin(), values.end());
  }
  const std::span<const float> at = floats(file->get("at", {-1}));
  scored.at.assign(at.begin(), at.end());
  const Tensor& logits = file->get("logits", {tokens.size(0), std::ssize(scored.at), -1});
  scored.logits = logits.reshape({logits.size(0) * logits.size(1), logits.size(2)});
  return scored;
}

// The largest relative difference from the expected logits, `chunk` tokens a step. The sequences
// start a step apart, so that steps see them at different places.
float decode_difference(const Model& model, const Scored& scored, int64_t chunk) {
  const size_t sequences = scored.tokens.size();
  Decoding decoding(model, static_cast<int64_t>(sequences), scored.length());
  std::vector<int64_t> done(sequences, 0);
  const float scale = largest(floats(scored.logits));
  float worst = 0;
  for (size_t step = 0; done.back() < scored.length(); ++step) {
    std::vector<std::span<const int32_t>> next(sequences);
    for (size_t i = 0; i < std::min(sequences, step + 1); ++i) {
      const int64_t count = std::min(chunk, scored.length() - done[i]);
      next[i] = std::span(scored.tokens[i])
                    .subspan(static_cast<size_t>(done[i]), static_cast<size_t>(count));
    }
    const Tensor logits = decoding.step(next);
    int64_t row = 0;
    for (size_t i = 0; i < sequences; ++i) {
      for (int64_t j = 0; j < std::ssize(next[i]); ++j, ++row, ++done[i]) {
        const auto found = std::find(scored.at.begin(), scored.at.end(), done[i]);
        if (found == scored.at.end()) continue;
        const Tensor want = scored.logits.slice(
            static_cast<int64_t>(i) * std::ssize(scored.at) + (found - scored.at.begin()), 1);
        const Tensor got = logits.slice(row, 1);
        const float difference = relative_difference(floats(got), floats(want));
        worst = std::max(worst, difference * largest(floats(want)) / scale);
      }
    }
  }
  return worst;
}

// What rounding rows may cost, by the plan's own prediction.
float allowed(const Model& model) {
  return kExact + static_cast<float>(kGrowth * predicted_error(model));
}

bool predicted(const Model& model) {
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
    for (const char* kernels : {"reference", "cpu"}) {
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
        kernels_(make_kernels(GetParam().kernels, 2)) {}

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

  Scored scored_ = read_scored(GetParam().model);
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
      if (model == nullptr || !predicted(*model)) continue;
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
  for (const LayerPlan& layer : build({})->plan()) {
    const bool clipped = stack.clip > 0;
    EXPECT_EQ(layer.kind, !multi_head || clipped ? "kv" : rotary ? "k" : "x") << layer.reason;
  }
}

INSTANTIATE_TEST_SUITE_P(All, LmGolden, testing::ValuesIn(cases()),
                         [](const testing::TestParamInfo<Case>& instance) {
                           return instance.param.model + "_" + instance.param.kernels;
                         });

class LmGguf : public testing::TestWithParam<std::string> {};

TEST_P(LmGguf, ComputesWhatTransformersDoes) {
  const Scored scored = read_scored(GetParam());
  const Loaded loaded(golden_models() / GetParam() / "model.gguf", "cpu",
                      cache("kv", RowType::f32));
  EXPECT_LT(decode_difference(*loaded.model, scored, 37), kExact);
}

INSTANTIATE_TEST_SUITE_P(All, LmGguf, testing::Values("llama_linear", "gpt_neox_sequential"),
                         [](const auto& instance) { return instance.param; });

}  // namespace
}  // namespace slim::test
