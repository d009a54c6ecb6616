// Engine::forecast against the chronos-forecasting package on tiny random models
// (tools/make_golden_forecast.py): quantiles given at once, and of drawn paths; series alone and
// among others, and those that nothing can be said of.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "engine/series_source.h"
#include "error_matchers.h"
#include "models/family.h"
#include "slim/slim.h"
#include "temporary_folder.h"

namespace slim {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

fs::path model_path(const std::string& name) {
  return fs::path(SLIM_TEST_DATA) / "golden" / "forecast" / name;
}

json expected_of(const std::string& name) {
  std::ifstream file(model_path(name) / "expected.json");
  return json::parse(file);
}

std::vector<Series> series_of(const json& expected) {
  std::vector<Series> all;
  for (const json& values : expected["series"]) {
    Series& series = all.emplace_back();
    for (const json& value : values) series.push_back(value.is_null() ? kNaN : value.get<double>());
  }
  return all;
}

EngineOptions exact(const std::string& cache = "auto") {
  EngineOptions options;
  options.threads = 1;
  options.cache = cache;
  options.cache_type = "f32";
  return options;
}

double largest_difference(const std::vector<double>& found, const std::vector<double>& expected) {
  if (found.size() != expected.size()) return std::numeric_limits<double>::infinity();
  double largest = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    largest = std::max(largest, std::fabs(found[i] - expected[i]));
  }
  return largest;
}

class QuantileForecasts : public testing::TestWithParam<const char*> {};

TEST_P(QuantileForecasts, AreThePackages) {
  const json expected = expected_of(GetParam());
  const std::vector<Series> series = series_of(expected);
  for (const char* cache : {"kv", "auto"}) {
    Engine engine(model_path(GetParam()).string(), exact(cache));
    for (size_t number = 0; number < expected["each"][0]["forecasts"].size(); ++number) {
      const json& first = expected["each"][0]["forecasts"][number];
      ForecastOptions options;
      options.horizon = first["horizon"];
      options.quantiles = first["levels"].get<std::vector<double>>();
      options.batch = 4;
      const std::vector<Forecast> found = engine.forecast(series, options);
      for (size_t i = 0; i < series.size(); ++i) {
        const json& one = expected["each"][i]["forecasts"][number];
        // In standard deviations of the series; what goes on from a forecast grows its error.
        const double scale = expected["each"][i]["scale"].get<double>();
        const double location = std::fabs(expected["each"][i]["loc"].get<double>());
        const double allowed = 1e-4 * scale + 2e-6 * location;
        const auto levels = one["quantiles"].get<std::vector<std::vector<double>>>();
        ASSERT_EQ(found[i].quantiles.size(), levels.size());
        for (size_t level = 0; level < levels.size(); ++level) {
          EXPECT_LT(largest_difference(found[i].quantiles[level], levels[level]), allowed)
              << cache << ", series " << i << ", horizon " << options.horizon << ", level "
              << options.quantiles[level];
        }
        EXPECT_LT(largest_difference(found[i].mean, one["mean"]), allowed) << i;
        EXPECT_EQ(found[i].median, found[i].mean);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, QuantileForecasts, testing::Values("bolt", "bolt_overlapping"),
                         [](const auto& one) { return std::string(one.param); });

class DrawnForecasts : public testing::TestWithParam<const char*> {};

// Quantiles of n draws are off by some sqrt(p (1 - p) / n) in probability: those of the package
// must lie between ours of levels five times as far to either side, of both samples together.
TEST_P(DrawnForecasts, AreDistributedAsThePackages) {
  const json expected = expected_of(GetParam());
  const std::vector<Series> series = series_of(expected);
  Engine engine(model_path(GetParam()).string(), exact());
  for (const json& drawn : expected["drawn"]) {
    const auto levels = drawn["levels"].get<std::vector<double>>();
    ForecastOptions options;
    options.samples = 3000;
    options.seed = 1;
    options.quantiles.clear();
    for (const double level : levels) {
      const double margin =
          5 * std::sqrt(level * (1 - level) * (1.0 / 3000 + 1 / drawn["samples"].get<double>()));
      options.quantiles.push_back(std::max(0.0, level - margin));
      options.quantiles.push_back(std::min(1.0, level + margin));
    }
    const Forecast found = engine.forecast({series[drawn["series"].get<size_t>()]}, options)[0];
    for (size_t i = 0; i < levels.size(); ++i) {
      const auto values = drawn["quantiles"][i].get<std::vector<double>>();
      ASSERT_EQ(found.median.size(), values.size());
      for (size_t step = 0; step < values.size(); ++step) {
        const double slack = 1e-5 * std::fabs(values[step]);
        EXPECT_GE(values[step], found.quantiles[2 * i][step] - slack) << levels[i] << " " << step;
        EXPECT_LE(values[step], found.quantiles[2 * i + 1][step] + slack)
            << levels[i] << " " << step;
      }
    }
  }
}

TEST_P(DrawnForecasts, DependOnTheSeedAlone) {
  Engine engine(model_path(GetParam()).string(), exact());
  const std::vector<Series> series = series_of(expected_of(GetParam()));
  ForecastOptions options;
  options.seed = 3;
  options.horizon = 14;  // three readings
  const std::vector<Forecast> first = engine.forecast(series, options);
  EXPECT_EQ(first[0].median.size(), 14u);
  options.batch = 3;
  const std::vector<Forecast> again = engine.forecast(series, options);
  for (size_t i = 0; i < series.size(); ++i) {
    EXPECT_EQ(first[i].quantiles, again[i].quantiles) << i;
    EXPECT_LE(first[i].quantiles[0], first[i].quantiles[2]);
  }
  options.seed = 4;
  EXPECT_NE(engine.forecast(series, options)[0].quantiles, first[0].quantiles);
  // The likeliest path alone has no band.
  options.temperature = 0;
  const Forecast greedy = engine.forecast(series, options)[0];
  EXPECT_EQ(greedy.quantiles[0], greedy.quantiles[2]);
  EXPECT_EQ(greedy.median, greedy.quantiles[1]);
}

INSTANTIATE_TEST_SUITE_P(All, DrawnForecasts, testing::Values("chronos", "chronos_gated"),
                         [](const auto& one) { return std::string(one.param); });

TEST(Forecast, IsTheSameAloneAndAmongOthers) {
  for (const char* name : {"bolt", "bolt_overlapping"}) {
    Engine engine(model_path(name).string(), exact());
    const std::vector<Series> series = series_of(expected_of(name));
    ForecastOptions options;
    options.horizon = 15;
    const std::vector<Forecast> all = engine.forecast(series, options);
    for (size_t i = 0; i < series.size(); ++i) {
      const Forecast alone = engine.forecast({series[i]}, options)[0];
      const double scale = std::fabs(alone.median[0]) + std::fabs(alone.quantiles[2][0]) + 1e-6;
      EXPECT_LT(largest_difference(all[i].median, alone.median), 1e-5 * scale) << name << " " << i;
    }
  }
}

// What lies before the values that the model looks at changes nothing.
TEST(Forecast, LooksAtTheLatestValues) {
  for (const char* name : {"bolt", "chronos"}) {
    Engine engine(model_path(name).string(), exact());
    Series series;
    for (int i = 0; i < 5000; ++i) series.push_back(std::sin(0.3 * i));
    ForecastOptions options;
    if (engine.series_limits().draws) options.seed = 1;
    const Forecast whole = engine.forecast({series}, options)[0];
    EXPECT_EQ(whole.values, engine.series_limits().context);
    series[0] = 1e9;
    EXPECT_EQ(engine.forecast({series}, options)[0].median, whole.median);
    series.erase(series.begin(), series.end() - whole.values);
    EXPECT_EQ(engine.forecast({series}, options)[0].median, whole.median);
    series.back() = 5;
    EXPECT_NE(engine.forecast({series}, options)[0].median, whole.median);
  }
}

TEST(Forecast, StopsWhenItIsToldTo) {
  Engine engine(model_path("bolt").string(), exact());
  const std::vector<Series> series(5, Series{1, 2, 3});
  ForecastOptions options;
  options.batch = 2;
  std::vector<size_t> done;
  options.on_done = [&](size_t count, size_t total) {
    EXPECT_EQ(total, 5u);
    done.push_back(count);
    return count < 4;
  };
  ForecastStats stats;
  const std::vector<Forecast> found = engine.forecast(series, options, &stats);
  EXPECT_EQ(done, (std::vector<size_t>{2, 4}));
  EXPECT_EQ(found[3].median.size(), 6u);
  EXPECT_TRUE(found[4].median.empty());
  EXPECT_EQ(stats.series, 4);
  EXPECT_EQ(stats.values, 12);
  EXPECT_GT(stats.context_bytes, 0);
  EXPECT_GT(stats.context_kv_bytes, stats.context_bytes);
  EXPECT_TRUE(engine.forecast({}, {}).empty());
}

TEST(Forecast, SaysWhatIsWrongWithASeries) {
  Engine engine(model_path("bolt").string(), exact());
  const auto refuses = [&](const Series& series, const std::string& text) {
    return fails_with(ErrorCode::bad_request, {"series 2", text}, [&] {
      engine.forecast({{1, 2}, series}, {});
    });
  };
  EXPECT_TRUE(refuses({}, "empty"));
  EXPECT_TRUE(refuses({kNaN, kNaN}, "known"));
  EXPECT_TRUE(refuses({1, std::numeric_limits<double>::infinity()}, "Value 2"));
  EXPECT_TRUE(refuses({1e300}, "Value 1"));
  Series old(60, kNaN);
  old[3] = 1;  // the model looks at 48
  EXPECT_TRUE(refuses(old, "last 48"));
}

// Finite numbers whose scale is not, and a forecast that grows as it goes on from itself: neither
// infinities nor NaN come out as if they were forecasts.
TEST(Forecast, GivesNoNumbersBeyondThirtyTwoBits) {
  for (const char* name : {"chronos", "bolt"}) {
    Engine engine(model_path(name).string(), exact());
    Series large;
    for (int i = 0; i < 10; ++i) large.insert(large.end(), {3e38, -3.2e38});
    ForecastOptions rounds;  // of as many values as the model foretells at once
    rounds.horizon = 200;
    for (const ForecastOptions& options : {ForecastOptions(), rounds}) {
      EXPECT_TRUE(fails_with(ErrorCode::bad_request, {"series 2", "Step ", "32 bits"}, [&] {
        engine.forecast({{1, 2, 3}, large}, options);
      })) << name;
    }
  }
  Engine engine(model_path("chronos").string(), exact());
  ForecastOptions options;
  options.horizon = 2000;
  options.samples = 1;
  options.seed = 1;
  EXPECT_TRUE(fails_with(ErrorCode::bad_request, {"series 1", "Step ", "32 bits"}, [&] {
    engine.forecast({{1e35, 2e35, 3e35}}, options);
  }));
}

TEST(Forecast, SaysWhatIsWrongWithAnOption) {
  const auto refuses = [&](const char* model, const std::string& text, auto change) {
    Engine engine(model_path(model).string(), exact());
    ForecastOptions options;
    change(options);
    return fails_with(ErrorCode::bad_request, {text}, [&] { engine.forecast({{1, 2}}, options); });
  };
  using Options = ForecastOptions;
  EXPECT_TRUE(refuses("bolt", "horizon", [](Options& o) { o.horizon = -1; }));
  EXPECT_TRUE(refuses("bolt", "horizon", [](Options& o) { o.horizon = int64_t{1} << 40; }));
  EXPECT_TRUE(refuses("bolt", "quantiles", [](Options& o) { o.quantiles = {0.5, 1.5}; }));
  EXPECT_TRUE(refuses("bolt", "quantiles", [](Options& o) { o.quantiles = {kNaN}; }));
  EXPECT_TRUE(refuses("bolt", "batch", [](Options& o) { o.batch = 0; }));
  EXPECT_TRUE(refuses("bolt", "draw", [](Options& o) { o.samples = 5; }));
  EXPECT_TRUE(refuses("bolt", "draw", [](Options& o) { o.seed = 5; }));
  EXPECT_TRUE(refuses("chronos", "samples", [](Options& o) { o.samples = 0; }));
  EXPECT_TRUE(refuses("chronos", "top_p", [](Options& o) { o.top_p = 2; }));
}

TEST(Forecast, IsForModelsOfSeriesAndNothingElseIs) {
  Engine engine(model_path("bolt").string(), exact());
  EXPECT_TRUE(engine.forecasts());
  EXPECT_FALSE(engine.reads());
  const auto refuses = [](auto action) {
    return fails_with(ErrorCode::bad_request, {"series of numbers"}, action);
  };
  GenerateRequest request;
  request.prompt = "a";
  EXPECT_TRUE(refuses([&] { engine.generate(request); }));
  EXPECT_TRUE(refuses([&] { engine.translate({"a"}, {}); }));
  EXPECT_TRUE(refuses([&] { engine.transcribe({"-"}, {}); }));
  EXPECT_TRUE(refuses([&] { engine.tokenize("a"); }));
  EXPECT_TRUE(refuses([&] { ChatSession session(engine); }));
  const fs::path text = fs::path(SLIM_TEST_DATA) / "golden" / "translation" / "t5_json";
  Engine other(text.string(), exact());
  EXPECT_TRUE(refuses([&] { other.forecast({{1, 2}}, {}); }));
  EXPECT_TRUE(refuses([&] { other.series_limits(); }));
}

TEST(Forecast, IsVerifiedAgainstStoredRows) {
  for (const char* name : {"bolt", "chronos"}) {
    const std::vector<Series> series = series_of(expected_of(name));
    EngineOptions rounded;
    Engine engine(model_path(name).string(), rounded);
    const Verification found = engine.verify_forecast(series, {});
    EXPECT_EQ(found.sequences, std::ssize(series));
    const bool draws = engine.series_limits().draws;
    EXPECT_EQ(found.tokens, std::ssize(series) * (draws ? 6 : 1));
    EXPECT_GT(found.logit_rel, 0);
    EXPECT_LT(found.logit_rel, 5e-3);
    EXPECT_EQ(found.distributions, draws);
    EXPECT_EQ(std::isnan(found.kl_mean), !draws);
    EXPECT_GT(found.context.kv, found.context.slim);
  }
}

TEST(Forecast, IsTimed) {
  for (const char* name : {"bolt", "bolt_overlapping", "chronos"}) {
    Engine engine(model_path(name).string(), {});
    BenchOptions options;
    options.batches = {2};
    options.repeats = 1;
    options.read_bytes = 4096;
    const std::vector<BenchRow> rows = engine.bench(options);
    ASSERT_EQ(rows.size(), 4u);
    for (const BenchRow& row : rows) {
      EXPECT_GT(row.first_token_seconds, 0);
      EXPECT_EQ(row.step_seconds > 0, engine.series_limits().draws);
      EXPECT_TRUE(std::isfinite(row.read_rate()));
    }
  }
}

TEST(Quantiles, AreReadBetweenValuesAndLevels) {
  const std::vector<double> values = {1, 2, 4};
  EXPECT_EQ(quantile_of(values, 0), 1);
  EXPECT_EQ(quantile_of(values, 0.25), 1.5);
  EXPECT_EQ(quantile_of(values, 0.5), 2);
  EXPECT_EQ(quantile_of(values, 1), 4);
  EXPECT_EQ(quantile_of(std::span(values).first(1), 0.7), 1);
  const std::vector<double> levels = {0.1, 0.5, 0.9};
  EXPECT_EQ(at_level(levels, values, 0.05), 1);
  EXPECT_EQ(at_level(levels, values, 0.1), 1);
  EXPECT_DOUBLE_EQ(at_level(levels, values, 0.3), 1.5);
  EXPECT_EQ(at_level(levels, values, 0.5), 2);
  EXPECT_EQ(at_level(levels, values, 0.9), 4);
  EXPECT_EQ(at_level(levels, values, 1), 4);
}

// A config of a model of series that has `from` replaced.
testing::AssertionResult refuses_config(const std::string& model, const std::string& from,
                                        const std::string& to, const std::string& text) {
  std::ifstream file(model_path(model) / "config.json");
  std::string config((std::istreambuf_iterator<char>(file)), {});
  const size_t at = config.find(from);
  if (at == std::string::npos) return testing::AssertionFailure() << "no " << from;
  config.replace(at, from.size(), to);
  const TemporaryFolder folder;
  folder.write("config.json", config);
  try {
    open_model(folder.path() / "config.json");
  } catch (const Error& error) {
    const std::string message = error.what();
    if (message.find(text) != std::string::npos) return testing::AssertionSuccess();
    return testing::AssertionFailure() << message;
  }
  return testing::AssertionFailure() << "nothing was thrown";
}

TEST(SeriesConfig, IsRefusedWhereItMakesNoSense) {
  EXPECT_TRUE(
      refuses_config("bolt", "\"context_length\": 48", "\"context_length\": 0", "context_length"));
  EXPECT_TRUE(refuses_config("bolt", "\"input_patch_stride\": 8", "\"input_patch_stride\": 9",
                             "input_patch_stride"));
  EXPECT_TRUE(refuses_config("bolt", "0.2,", "0.05,", "quantiles"));
  EXPECT_TRUE(refuses_config("bolt", "0.9\n", "1.9\n", "quantiles"));
  EXPECT_TRUE(refuses_config("chronos", "MeanScaleUniformBins", "OtherBins", "tokenizer_class"));
  EXPECT_TRUE(refuses_config("chronos", "seq2seq", "causal", "model_type"));
  EXPECT_TRUE(refuses_config("chronos", "\"n_tokens\": 64", "\"n_tokens\": 63", "n_tokens"));
  EXPECT_TRUE(refuses_config("chronos", "\"n_special_tokens\": 2", "\"n_special_tokens\": 62",
                             "n_special_tokens"));
  EXPECT_TRUE(
      refuses_config("chronos", "\"high_limit\": 4.0", "\"high_limit\": -4.0", "high_limit"));
}

}  // namespace
}  // namespace slim
