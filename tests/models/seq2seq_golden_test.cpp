// Every golden encoder-decoder model of text (tests/golden/seq2seq: a folder each), on every kernel
// implementation, under every cache kind and row type that fits it, against Transformers in
// float64: five sources of unequal lengths at once and alone, prefilled, in chunks and token by
// token.
//
// Tolerances are those of the language models (lm_golden_test.cpp): relative to the largest value,
// kExact for arithmetic, and what the plan predicts for rounded rows (allowed_difference()).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "models/golden_model.h"
#include "slim/error.h"

namespace slim::test {
namespace {

namespace fs = std::filesystem;

std::vector<int32_t> most_likely(const Tensor& logits) {
  std::vector<int32_t> tokens;
  for (int64_t row = 0; row < logits.size(0); ++row) {
    const Tensor one = logits.slice(row, 1);
    const std::span<const float> values = floats(one);
    tokens.push_back(
        static_cast<int32_t>(std::max_element(values.begin(), values.end()) - values.begin()));
  }
  return tokens;
}

class Seq2SeqGolden : public GoldenModel {
 protected:
  Translated expected_ = read_translated(GetParam().directory / "expected");
};

TEST_P(Seq2SeqGolden, EncodesAsTransformersDoesAtOnceAndAlone) {
  const std::unique_ptr<Model> model = build(cache("kv", RowType::f32));
  ASSERT_NE(model, nullptr);
  const Tensor together = model->encode(expected_.sources, expected_.lengths).on(host_device());
  EXPECT_LT(relative_difference(floats(together), floats(expected_.encoded)), kExact);
  int64_t first = 0;
  for (size_t i = 0; i < expected_.lengths.size(); ++i) {
    const int64_t length = expected_.lengths[i];
    const Tensor alone = model->encode(expected_.source(i), {&length, 1}).on(host_device());
    const Tensor within = together.slice(first, length);
    EXPECT_LT(relative_difference(floats(alone), floats(within)), 1e-5F) << length << " tokens";
    first += length;
  }
}

TEST_P(Seq2SeqGolden, StaysWithinWhatThePlanPredictsUnderEveryKind) {
  int fitting = 0;
  for (const char* kind : {"kv", "x", "auto"}) {
    for (const RowType type : {RowType::f32, RowType::f16, RowType::bf16, RowType::i8}) {
      const std::unique_ptr<Model> model = build(cache(kind, type));
      if (model == nullptr) continue;
      ++fitting;
      for (const int64_t chunk : {expected_.length(), int64_t{13}, int64_t{1}}) {
        EXPECT_LT(decode_difference(*model, expected_, chunk), allowed_difference(*model))
            << kind << " " << name_of(type) << ", " << chunk << " tokens a step";
      }
    }
  }
  EXPECT_GE(fitting, 9);
}

TEST_P(Seq2SeqGolden, StoresLayerInputsAndEncoderRowsByItself) {
  const std::unique_ptr<Model> model = build({});
  ASSERT_NE(model, nullptr);
  for (const LayerPlan& layer : model->plan()) {
    EXPECT_EQ(layer.kind, layer.cross ? "encoder" : "x") << layer.reason;
  }
}

TEST_P(Seq2SeqGolden, ChoosesTheTokensThatTransformersChooses) {
  for (const char* kind : {"kv", "auto"}) {
    const std::unique_ptr<Model> model = build(cache(kind, RowType::f32));
    ASSERT_NE(model, nullptr);
    Decoding decoding(*model, model->read(expected_.all_sources()));
    std::vector<int32_t> last(expected_.lengths.size(), expected_.start);
    for (int64_t step = 0; step < expected_.greedy_length(); ++step) {
      std::vector<std::span<const int32_t>> next;
      for (const int32_t& token : last) next.emplace_back(&token, 1);
      last = most_likely(decoding.step(next));
      for (size_t i = 0; i < last.size(); ++i) {
        ASSERT_EQ(last[i], expected_.greedy[i][static_cast<size_t>(step)])
            << kind << ", source " << i << ", token " << step;
      }
    }
  }
}

TEST_P(Seq2SeqGolden, RefusesSourcesThatItCannotRead) {
  const std::unique_ptr<Model> model = build({});
  ASSERT_NE(model, nullptr);
  const auto encode = [&](const std::vector<int32_t>& tokens) {
    const int64_t length = std::ssize(tokens);
    return model->encode(tokens, {&length, 1});
  };
  EXPECT_THROW(encode({}), Error);
  EXPECT_THROW(encode({4, -1}), Error);
  EXPECT_THROW(encode({4, 1 << 20}), Error);
  const StackSpec& stack = files_.spec.encoder;
  const std::vector<int32_t> longer(static_cast<size_t>(stack.positions + 1), 4);
  if (!stack.is_absolute()) {
    EXPECT_NO_THROW(encode(longer));
    return;
  }
  try {
    encode(longer);
    FAIL();
  } catch (const Error& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find(std::to_string(stack.positions)), std::string::npos) << text;
    EXPECT_NE(text.find(std::to_string(stack.positions + 1)), std::string::npos) << text;
  }
}

Tensor first_logits(const fs::path& path, const Translated& expected) {
  const Loaded loaded(path, "reference", cache("auto", RowType::f32));
  Decoding decoding(*loaded.model, loaded.model->read(expected.all_sources()));
  std::vector<std::span<const int32_t>> next;
  for (const std::vector<int32_t>& tokens : expected.scored.tokens) {
    next.push_back(std::span(tokens).first(9));
  }
  next.front() = {&expected.start, 1};
  return decoding.step(next);
}

// Of the first tokens.
std::vector<float> logits_of(const Tensor& logits, int64_t tokens) {
  std::vector<float> values;
  for (int64_t row = 0; row < logits.size(0); ++row) {
    const float* first = logits.values<float>() + row * logits.size(1);
    values.insert(values.end(), first, first + tokens);
  }
  return values;
}

// But for the last token, which a file of CTranslate2's may not have.
TEST(Seq2SeqFormats, GiveTheSameLogits) {
  int converted = 0;
  for (const fs::directory_entry& folder : fs::directory_iterator(golden_folder("seq2seq"))) {
    if (!fs::exists(folder.path() / "ct2")) continue;
    ++converted;
    const Translated expected = read_translated(folder.path() / "expected");
    const Tensor logits = first_logits(folder.path(), expected);
    const Tensor other = first_logits(folder.path() / "ct2", expected);
    ASSERT_EQ(other.size(0), logits.size(0)) << folder.path();
    const int64_t known = other.size(1);
    const bool starts = folder.path().filename().string().starts_with("marian");
    EXPECT_EQ(known, logits.size(1) - (starts ? 1 : 0)) << folder.path();
    EXPECT_LT(relative_difference(logits_of(other, known), logits_of(logits, known)), kExact)
        << folder.path();
  }
  EXPECT_EQ(converted, 7);
}

INSTANTIATE_TEST_SUITE_P(All, Seq2SeqGolden, testing::ValuesIn(golden_cases("seq2seq")),
                         golden_case_name);

}  // namespace
}  // namespace slim::test
