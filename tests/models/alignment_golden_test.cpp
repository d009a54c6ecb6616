// When tokens are said, against openai-whisper on Transformers' attention in float64
// (tools/make_golden_alignment.py): on every device, under every cache kind.
//
// Weights are normalised over tokens, so that an error e of a score moves one by at most e * p / d,
// where the deviation d of few tokens may be a tenth of p. Scores of up to 20 are summed in f32:
// e is 1e-5 at most (whisper_golden_test.cpp), and weights agree within 1e-3. (Measured: 1e-4.)
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "engine/word_aligner.h"
#include "kernels/staged_kernels.h"
#include "models/golden.h"

namespace slim::test {
namespace {

constexpr float kClose = 1e-3F;
const std::vector<int32_t> kStart = {3, 7};

SpeechTokens steering_tokens() {
  SpeechTokens tokens;
  tokens.no_timestamps = 60;
  tokens.end = 50;
  return tokens;
}

// What one window comes to.
struct Said {
  std::vector<int32_t> text;
  int64_t frames = 0;
  std::vector<float> weights;  // [text + 1, frames / 2]
  std::vector<int64_t> first;  // [text + 1]
  std::vector<float> probability;
};

std::vector<Said> read_said(const std::string& model) {
  const auto file = Checkpoint::open(golden_directory(model) / "alignment");
  const Tensor text = file->get("text", {kWindows, -1});
  const Tensor weights = file->get("weights", {kWindows, text.size(1) + 1, -1});
  const auto frames = floats(file->get("frames", {kWindows}));
  const auto first = floats(file->get("first", {kWindows, -1}));
  const auto probability = floats(file->get("probability", {kWindows, -1}));
  std::vector<Said> all;
  for (int64_t window = 0; window < kWindows; ++window) {
    Said& said = all.emplace_back();
    said.frames = static_cast<int64_t>(frames[static_cast<size_t>(window)]);
    const int64_t most = text.size(1);
    for (int64_t i = 0; i < most; ++i) {
      const float id = text.values<float>()[window * most + i];
      if (id < 0) break;
      said.text.push_back(static_cast<int32_t>(id));
      said.probability.push_back(probability[static_cast<size_t>(window * most + i)]);
    }
    for (int64_t i = 0; i <= std::ssize(said.text); ++i) {
      const int64_t row = window * (most + 1) + i;
      said.first.push_back(static_cast<int64_t>(first[static_cast<size_t>(row)]));
      const float* values = weights.values<float>() + row * weights.size(2);
      said.weights.insert(said.weights.end(), values, values + said.frames / 2);
    }
  }
  return all;
}

class AlignmentGolden : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (device_kernels(GetParam(), 1) == nullptr) GTEST_SKIP() << kNoCard;
  }
  // Calls test(model, encoded rows, expected) for each window under each kind.
  template <typename Test>
  void for_windows(const Test& test) {
    for (const char* name : {"deep_decoder", "wide_input"}) {
      const std::vector<Said> expected = read_said(name);
      const Tensor encoded = read_expected(name).encoded;
      const int64_t positions = encoded.size(0) / kWindows;
      for (const char* kind : {"kv", "x", "k"}) {
        SCOPED_TRACE(std::string(name) + " " + kind);
        const Loaded loaded(golden_directory(name) / "hf", GetParam(),
                            cache(kind, RowType::f32, true));
        const Tensor there = encoded.on(loaded.kernels->device());
        for (int64_t window = 0; window < kWindows; ++window) {
          const PageTable rows =
              loaded.model->remember(there.slice(window * positions, positions).matrix());
          test(*loaded.model, rows, expected[static_cast<size_t>(window)]);
        }
      }
    }
  }
};

TEST_P(AlignmentGolden, TokensAreSaidWhenOpenaiWhisperSaysSo) {
  const SpeechTokens tokens = steering_tokens();
  for_windows([&](const Model& model, const PageTable& rows, const Said& expected) {
    WordAligner aligner(model, tokens);
    const TokenTimes times = aligner.align(rows, kStart, expected.text, expected.frames);
    ASSERT_EQ(times.at.size(), expected.first.size());
    for (size_t i = 0; i < expected.first.size(); ++i) {
      EXPECT_EQ(std::lround(times.at[i] / 0.02), expected.first[i]) << "token " << i;
    }
    ASSERT_EQ(times.probability.size(), expected.probability.size());
    for (size_t i = 0; i < expected.probability.size(); ++i) {
      EXPECT_NEAR(times.probability[i], expected.probability[i], 1e-3 * expected.probability[i]);
    }
  });
}

TEST_P(AlignmentGolden, WeightsAreThoseOfTransformersAttention) {
  const SpeechTokens tokens = steering_tokens();
  for_windows([&](const Model& model, const PageTable& rows, const Said& expected) {
    std::vector<int32_t> all = kStart;
    all.push_back(tokens.no_timestamps);
    all.insert(all.end(), expected.text.begin(), expected.text.end());
    all.push_back(tokens.end);
    // Both heads of the upper half of the layers.
    const std::vector<int64_t> heads = {0, 1};
    const int64_t layers = model.spec().decoder.layers;
    const int64_t each = 2 * std::ssize(all);
    Tensor scores =
        Tensor::allocate(host_device(), DType::f32, {(layers - layers / 2) * each, rows.rows()});
    std::vector<HeadScores> wanted(static_cast<size_t>(layers / 2));
    for (int64_t i = 0; i < layers - layers / 2; ++i) {
      wanted.push_back({heads, scores.writable_matrix().rows_from(i * each, each)});
    }
    Sequence sequence{model.new_sequence(), &rows};
    StepBatch batch(model);
    batch.clear();
    batch.add(sequence, all);
    batch.run(wanted);
    const AlignmentRange range{.heads = scores.size(0) / std::ssize(all),
                               .first = std::ssize(kStart),
                               .count = std::ssize(expected.first),
                               .positions = expected.frames / 2};
    const std::vector<float> weights = alignment_weights(scores.writable_matrix(), range);
    ASSERT_EQ(weights.size(), expected.weights.size());
    float worst = 0;
    for (size_t i = 0; i < weights.size(); ++i) {
      worst = std::max(worst, std::abs(weights[i] - expected.weights[i]));
    }
    EXPECT_LT(worst, kClose);
  });
}

INSTANTIATE_TEST_SUITE_P(All, AlignmentGolden, testing::ValuesIn(test_device_names()),
                         [](const testing::TestParamInfo<std::string>& instance) {
                           std::string name = instance.param;
                           std::replace(name.begin(), name.end(), ':', '_');
                           return name;
                         });

}  // namespace
}  // namespace slim::test
