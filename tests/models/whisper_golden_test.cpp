// Every golden Whisper model, in every format it is stored in, on every kernel implementation,
// under every cache kind, against Transformers in float64.
//
// Tolerances are relative to the largest |logit| (11 to 13 here). Weights are exact on both sides,
// so in f32 only arithmetic differs: about 40 dependent operations of relative error near 1e-7
// each, and scores of up to 20 through an exponential. The reference kernels measure 2e-7; allowed
// are 1e-5. Rounded rows add, for each attention layer, the error its plan predicts for the layer's
// output; through scores (a relative error e in rows moves a score s by e * s) and later layers
// this may grow: allowed are kGrowth times the sum over layers, of which i8 measures 0.75 and f16
// 0.25.
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>

#include "kernels/staged_kernels.h"
#include "models/golden.h"

namespace slim::test {
namespace {

constexpr float kExact = 1e-5F;
constexpr double kGrowth = 2;

struct Case {
  std::string model;
  std::string format;
  std::string kernels;

  std::filesystem::path directory() const { return golden_directory(model) / format; }
  friend void PrintTo(const Case& item, std::ostream* stream) {
    *stream << item.model << " " << item.format << " " << item.kernels;
  }
};

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const std::string& kernels : test_device_names()) {
    for (const char* format : {"hf", "sharded", "ct2", "ggml-f16.bin"}) {
      all.push_back({"deep_decoder", format, kernels});
    }
    for (const char* format : {"hf", "ct2", "ggml-f32.bin"}) {
      all.push_back({"wide_input", format, kernels});
    }
    all.push_back({"computed", "hf", kernels});
  }
  return all;
}

// What rounding rows may cost, by the plan's own prediction.
float allowed(const Model& model) {
  return kExact + static_cast<float>(kGrowth * predicted_error(model));
}

// The largest relative difference between logits of all windows decoded `chunk` tokens a step, and
// the expected ones. Windows end at different lengths.
float decode_difference(const Model& model, const Expected& expected, int64_t chunk) {
  const Tensor encoded = model.encode(expected.mel.matrix(), kWindows);
  Decoding decoding(model, encoded.matrix(), kWindows);
  const float scale = largest(floats(expected.logits));
  float worst = 0;
  for (int64_t begin = 0; begin < expected.length(); begin += chunk) {
    std::vector<std::span<const int32_t>> next(kWindows);
    for (int64_t window = 0; window < kWindows; ++window) {
      const int64_t end = std::min(begin + chunk, expected.length() - 2 * window);
      if (end <= begin) continue;
      next[static_cast<size_t>(window)] = expected.window_tokens(window).subspan(
          static_cast<size_t>(begin), static_cast<size_t>(end - begin));
    }
    const Tensor logits = decoding.step(next);
    size_t row = 0;
    for (int64_t window = 0; window < kWindows; ++window) {
      for (int64_t i = 0; i < std::ssize(next[static_cast<size_t>(window)]); ++i, ++row) {
        const auto want = expected.logits_at(window, begin + i);
        const auto got = floats(logits).subspan(row * want.size(), want.size());
        worst = std::max(worst, relative_difference(got, want) * largest(want) / scale);
      }
    }
  }
  return worst;
}

class WhisperGolden : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (device_kernels(GetParam().kernels, 1) == nullptr) GTEST_SKIP() << kNoCard;
  }

  Expected expected_ = read_expected(GetParam().model);

  Loaded load(const std::string& kind, RowType rows) const {
    return {GetParam().directory(), GetParam().kernels, cache(kind, rows, true)};
  }
};

TEST_P(WhisperGolden, EncodesAsTransformersDoes) {
  const Loaded loaded = load("kv", RowType::f32);
  const Tensor encoded = loaded.model->encode(expected_.mel.matrix(), kWindows).on(host_device());
  EXPECT_LT(relative_difference(floats(encoded), floats(expected_.encoded)), kExact);
}

TEST_P(WhisperGolden, DecodesAsTransformersDoesUnderEveryKind) {
  for (const char* kind : {"kv", "x", "k"}) {
    const Loaded loaded = load(kind, RowType::f32);
    for (const int64_t chunk : {int64_t{1}, int64_t{5}, expected_.length()}) {
      EXPECT_LT(decode_difference(*loaded.model, expected_, chunk), allowed(*loaded.model))
          << kind << ", " << chunk << " tokens a step";
    }
  }
}

TEST_P(WhisperGolden, RoundedRowsStayWithinWhatThePlanPredicts) {
  for (const char* kind : {"kv", "x"}) {
    for (const RowType rows : {RowType::f16, RowType::bf16, RowType::i8}) {
      const Loaded loaded = load(kind, rows);
      const float difference = decode_difference(*loaded.model, expected_, 1);
      EXPECT_LT(difference, allowed(*loaded.model)) << kind << " " << name_of(rows);
      EXPECT_GT(difference, kExact) << kind << " " << name_of(rows) << " rounds nothing";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, WhisperGolden, testing::ValuesIn(cases()),
                         [](const testing::TestParamInfo<Case>& instance) {
                           std::string name = instance.param.model + "_" + instance.param.format +
                                              "_" + instance.param.kernels;
                           std::replace_if(
                               name.begin(), name.end(),
                               [](unsigned char c) { return std::isalnum(c) == 0; }, '_');
                           return name;
                         });

std::vector<float> some_logits(const std::filesystem::path& path, const Expected& expected) {
  const Loaded loaded(path, "reference", cache("x", RowType::f32));
  const Tensor encoded = loaded.model->encode(expected.mel.matrix(), kWindows);
  Decoding decoding(*loaded.model, encoded.matrix(), kWindows);
  const Tensor logits =
      decoding.step({expected.window_tokens(0).first(9), expected.window_tokens(1).first(2),
                     expected.window_tokens(2).first(5)});
  return {floats(logits).begin(), floats(logits).end()};
}

// The same numbers in several files: not a bit may differ.
TEST(WhisperFormats, GiveTheSameLogits) {
  const std::pair<const char*, std::vector<const char*>> models[] = {
      {"deep_decoder", {"hf", "sharded", "ct2", "ggml-f16.bin"}},
      {"wide_input", {"hf", "ct2", "ggml-f32.bin"}}};
  for (const auto& [model, formats] : models) {
    const Expected expected = read_expected(model);
    std::vector<float> first;
    for (const char* format : formats) {
      const std::vector<float> values = some_logits(golden_directory(model) / format, expected);
      if (first.empty()) first = values;
      EXPECT_EQ(values, first) << model << " " << format;
    }
  }
}

}  // namespace
}  // namespace slim::test
