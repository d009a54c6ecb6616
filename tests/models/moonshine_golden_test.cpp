// Every golden Moonshine model (tests/golden/moonshine: a folder each), on every kernel
// implementation, under every cache kind and row type that fits it, against Transformers in
// float64: four windows of unequal lengths at once and alone, prefilled, in chunks and token by
// token; greedy, and with four beams.
//
// Tolerances are those of the language models (lm_golden_test.cpp): relative to the largest value,
// kExact for arithmetic, and what the plan predicts for rounded rows (allowed_difference()).
#include <gtest/gtest.h>

#include <algorithm>

#include "engine/beam_search.h"
#include "engine/logits.h"
#include "kernels/staged_kernels.h"
#include "models/golden_model.h"
#include "models/waveform.h"
#include "slim/error.h"

namespace slim::test {
namespace {

class MoonshineGolden : public GoldenModel {
 protected:
  Spoken expected_ = read_spoken(GetParam().directory / "expected");
};

TEST_P(MoonshineGolden, EncodesAsTransformersDoesAtOnceAndAlone) {
  const std::unique_ptr<Model> model = build(cache("kv", RowType::f32));
  ASSERT_NE(model, nullptr);
  const Tensor together = model->encode(expected_.samples, expected_.lengths).on(host_device());
  EXPECT_LT(relative_difference(floats(together), floats(expected_.encoded)), kExact);
  int64_t row = 0;
  auto samples = std::span<const float>(expected_.samples);
  for (const int64_t length : expected_.lengths) {
    const Tensor alone =
        model->encode(samples.first(static_cast<size_t>(length)), {&length, 1}).on(host_device());
    const Tensor within = together.slice(row, waveform_rows(length));
    EXPECT_LT(relative_difference(floats(alone), floats(within)), 1e-5F) << length << " samples";
    row += waveform_rows(length);
    samples = samples.subspan(static_cast<size_t>(length));
  }
  EXPECT_EQ(row, together.size(0));
}

TEST_P(MoonshineGolden, StaysWithinWhatThePlanPredictsUnderEveryKind) {
  int fitting = 0;
  for (const char* kind : {"kv", "k", "auto"}) {
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
  EXPECT_GE(fitting, 5);
}

TEST_P(MoonshineGolden, StoresKeysAndEncoderRowsByItself) {
  const std::unique_ptr<Model> model = build({});
  ASSERT_NE(model, nullptr);
  for (const LayerPlan& layer : model->plan()) {
    EXPECT_EQ(layer.kind, layer.cross ? "encoder" : "k") << layer.reason;
  }
  EXPECT_LT(decode_difference(*model, expected_, 1), allowed_difference(*model));
}

TEST_P(MoonshineGolden, ChoosesTheTokensThatTransformersChooses) {
  for (const CacheChoice& choice : {cache("kv", RowType::f32), cache("k", RowType::f32), {}}) {
    const std::unique_ptr<Model> model = build(choice);
    ASSERT_NE(model, nullptr);
    Decoding decoding(*model, hear(*model, expected_));
    std::vector<int32_t> last(expected_.lengths.size(), expected_.start);
    for (int64_t step = 0; step < expected_.greedy_length(); ++step) {
      std::vector<std::span<const int32_t>> next;
      for (const int32_t& token : last) next.emplace_back(&token, 1);
      const Tensor logits = decoding.step(next);
      for (size_t i = 0; i < last.size(); ++i) {
        const Tensor row = logits.slice(static_cast<int64_t>(i), 1);
        last[i] = static_cast<int32_t>(argmax(floats(row)));
        ASSERT_EQ(last[i], expected_.greedy[i][static_cast<size_t>(step)])
            << choice.kind << ", window " << i << ", token " << step;
      }
    }
  }
}

// The best of four beams over one window.
std::vector<int32_t> best_beam(const Model& model, const Spoken& spoken, const PageTable& encoded) {
  BeamSearch search(
      {.beams = 4, .length_penalty = 1, .ends = {spoken.end}, .ending = BeamEnding::best}, {});
  std::vector<Sequence> sequences;
  sequences.push_back({model.new_sequence(), &encoded});
  StepBatch batch(model);
  for (int64_t step = 0; step < spoken.greedy_length() && !search.over(); ++step) {
    batch.clear();
    for (size_t i = 0; i < search.live(); ++i) {
      batch.add(sequences[i], step == 0 ? std::span(&spoken.start, 1) : search.tokens(i).last(1));
    }
    batch.run();
    batch.log_softmax(batch.rows());
    for (size_t i = 0; i < search.live(); ++i) {
      search.offer(i, batch.logits(static_cast<int64_t>(i)));
    }
    const auto ranked = search.ranked();
    step + 1 == spoken.greedy_length() ? search.finish(ranked) : search.advance(ranked);
    if (!search.over()) sequences = followed(search.parents(), std::move(sequences));
  }
  return search.best().front().tokens;
}

TEST_P(MoonshineGolden, FindsTheBeamsThatTransformersFinds) {
  for (const CacheChoice& choice : {cache("kv", RowType::f32), cache("k", RowType::f32), {}}) {
    const std::unique_ptr<Model> model = build(choice);
    ASSERT_NE(model, nullptr);
    const std::vector<PageTable> encoded = hear(*model, expected_);
    for (size_t i = 0; i < encoded.size(); ++i) {
      EXPECT_EQ(best_beam(*model, expected_, encoded[i]), expected_.beams[i])
          << choice.kind << ", window " << i;
    }
  }
}

TEST_P(MoonshineGolden, RefusesWindowsThatItCannotHear) {
  const std::unique_ptr<Model> model = build({});
  ASSERT_NE(model, nullptr);
  for (const int64_t length : {int64_t{0}, kWaveformLeast - 1, kWaveformLongest + 384}) {
    const std::vector<float> samples(static_cast<size_t>(length));
    EXPECT_THROW(model->encode(samples, {&length, 1}), Error) << length;
  }
}

TEST(MoonshineFrontEnd, CountsRows) {
  EXPECT_EQ(waveform_rows(0), 0);
  EXPECT_EQ(waveform_rows(kWaveformLeast - 1), 0);
  EXPECT_EQ(waveform_rows(kWaveformLeast), 1);
  EXPECT_EQ(waveform_rows(kWaveformLeast + 383), 1);
  EXPECT_EQ(waveform_rows(kWaveformLeast + 384), 2);
  EXPECT_EQ(waveform_rows(kWaveformLongest), 1248);
}

INSTANTIATE_TEST_SUITE_P(All, MoonshineGolden,
                         testing::ValuesIn(golden_cases("moonshine", test_device_names())),
                         golden_case_name);

}  // namespace
}  // namespace slim::test
