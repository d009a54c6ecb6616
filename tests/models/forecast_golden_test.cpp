// Every golden model of series (tests/golden/forecast: a folder each), on every kernel
// implementation, under every cache kind and row type that fits it, against what the
// chronos-forecasting package computes in float64: scales, bins and patches of series with gaps, of
// constant ones, longer than the model looks back and shorter than a patch; then logits or
// quantiles of what follows, alone and with all series at once.
//
// Tolerances are those of the encoder-decoder models of text (seq2seq_golden_test.cpp).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "engine/series_source.h"
#include "models/golden_model.h"

namespace slim::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

json expected_of(const fs::path& model) {
  std::ifstream file(model / "expected.json");
  return json::parse(file);
}

std::vector<float> floats_of(const json& values) {
  std::vector<float> all;
  for (const json& value : values) {
    all.push_back(value.is_null() ? std::numeric_limits<float>::quiet_NaN() : value.get<float>());
  }
  return all;
}

class ForecastGolden : public GoldenModel {
 protected:
  bool by_patches() const { return files_.spec.series.patch > 0; }
  std::vector<SeriesSource> sources() const {
    std::vector<SeriesSource> all;
    for (const json& values : expected_["series"]) {
      const std::vector<float> series = floats_of(values);
      all.push_back(by_patches() ? cut_patches(files_.spec.series, series)
                                 : SeriesBins(files_.spec).read(series));
    }
    return all;
  }
  std::vector<int32_t> decoder_tokens(size_t index) const {
    if (by_patches()) return {0};
    return expected_["each"][index]["decoder"].get<std::vector<int32_t>>();
  }
  std::vector<float> outputs(size_t index) const {
    const json& one = expected_["each"][index];
    if (by_patches()) return floats_of(one["output"]);
    std::vector<float> all;
    for (const json& row : one["logits"]) {
      const std::vector<float> values = floats_of(row);
      all.insert(all.end(), values.begin(), values.end());
    }
    return all;
  }
  // The largest over all series, `tokens` of a series a step.
  float difference(const Model& model, std::vector<PageTable> tables, size_t first,
                   size_t tokens) const {
    const size_t count = tables.size();
    Decoding decoding(model, std::move(tables));
    std::vector<std::vector<float>> found(count);
    const size_t length = decoder_tokens(0).size();
    std::vector<std::vector<int32_t>> all;
    for (size_t i = 0; i < count; ++i) all.push_back(decoder_tokens(first + i));
    for (size_t begin = 0; begin < length; begin += tokens) {
      const size_t some = std::min(tokens, length - begin);
      std::vector<std::span<const int32_t>> next;
      for (size_t i = 0; i < count; ++i) next.push_back(std::span(all[i]).subspan(begin, some));
      const Tensor logits = decoding.step(next);
      const auto columns = static_cast<size_t>(logits.size(1));
      for (size_t i = 0; i < count; ++i) {
        const auto rows = floats(logits).subspan(i * some * columns, some * columns);
        found[i].insert(found[i].end(), rows.begin(), rows.end());
      }
    }
    float worst = 0;
    for (size_t i = 0; i < count; ++i) {
      worst = std::max(worst, relative_difference(found[i], outputs(first + i)));
    }
    return worst;
  }

  json expected_ = expected_of(GetParam().directory);
};

TEST_P(ForecastGolden, ReadsSeriesAsThePackageDoes) {
  const std::vector<SeriesSource> all = sources();
  for (size_t i = 0; i < all.size(); ++i) {
    const json& one = expected_["each"][i];
    EXPECT_NEAR(all[i].scale / one["scale"].get<double>(), 1, 3e-7) << i;
    if (by_patches()) {
      EXPECT_NEAR(all[i].location, one["loc"].get<double>(), 1e-6 * all[i].scale) << i;
      continue;
    }
    std::vector<int32_t> tokens, places;
    int32_t place = 0;
    for (const json& token : one["tokens"]) {
      if (!token.is_null()) {
        tokens.push_back(token);
        places.push_back(place);
      }
      ++place;
    }
    EXPECT_EQ(all[i].tokens, tokens) << i;
    EXPECT_EQ(all[i].places, places) << i;
  }
  if (by_patches()) return;
  const SeriesBins bins(files_.spec);
  const std::vector<float> centers = floats_of(expected_["centers"]);
  const auto specials = static_cast<int32_t>(files_.spec.series.specials);
  for (size_t i = 0; i < centers.size(); ++i) {
    EXPECT_EQ(bins.value(static_cast<int32_t>(i) + specials + 1), centers[i]) << i;
  }
  EXPECT_EQ(bins.value(0), centers.front());
}

// Rows that nothing may see are left out, and the others keep their places.
TEST_P(ForecastGolden, LeavesMissingValuesOut) {
  const std::vector<SeriesSource> all = sources();
  const auto gaps = [](const SeriesSource& source) {
    return source.places.back() - source.places.front() + 1 - std::ssize(source.places);
  };
  const bool overlapping = files_.spec.series.stride < files_.spec.series.patch;
  EXPECT_EQ(gaps(all[0]), 0);
  EXPECT_EQ(gaps(all[2]), by_patches() ? 0 : 4);
  EXPECT_EQ(gaps(all[3]), !by_patches() ? 26 : overlapping ? 5 : 3);
  const int64_t most = files_.spec.encoder.positions;
  for (const SeriesSource& source : all) EXPECT_LE(std::ssize(source.places), most);
  EXPECT_EQ(std::ssize(all[1].places), most);
}

TEST_P(ForecastGolden, SaysWhatThePackageSaysUnderEveryKind) {
  const std::vector<SeriesSource> all = sources();
  int fitting = 0;
  for (const char* kind : {"kv", "x", "auto"}) {
    for (const RowType type : {RowType::f32, RowType::f16, RowType::bf16, RowType::i8}) {
      const std::unique_ptr<Model> model = build(cache(kind, type));
      if (model == nullptr) continue;
      ++fitting;
      const float allowed = allowed_difference(*model);
      for (const size_t tokens : {size_t{1}, size_t{3}, size_t{5}}) {
        EXPECT_LT(difference(*model, remember_series(*model, all), 0, tokens), allowed)
            << kind << " " << name_of(type) << ", " << tokens << " tokens a step";
      }
      if (type != RowType::f32) continue;
      for (size_t i = 0; i < all.size(); ++i) {
        EXPECT_LT(difference(*model, remember_series(*model, {&all[i], 1}), i, 1), kExact)
            << kind << ", series " << i << " alone";
      }
    }
  }
  EXPECT_GE(fitting, 9);
}

TEST_P(ForecastGolden, StoresLayerInputsAndEncoderRowsByItself) {
  const std::unique_ptr<Model> model = build({});
  ASSERT_NE(model, nullptr);
  for (const LayerPlan& layer : model->plan()) {
    EXPECT_EQ(layer.kind, layer.cross ? "encoder" : "x") << layer.reason;
  }
}

INSTANTIATE_TEST_SUITE_P(All, ForecastGolden, testing::ValuesIn(golden_cases("forecast")),
                         golden_case_name);

}  // namespace
}  // namespace slim::test
