// From public series and options to the Forecaster's.
#include <algorithm>
#include <cmath>
#include <string>

#include "engine/forecaster.h"
#include "engine/random_numbers.h"
#include "engine/runtime.h"
#include "engine/sampler.h"

namespace slim {
namespace {

constexpr int64_t kMostSteps = 100000;
constexpr int kMostSamples = 100000;
constexpr int kMostSeries = 4096;

int64_t checked(int64_t value, int64_t most, const char* name) {
  if (value >= 1 && value <= most) return value;
  throw Error(ErrorCode::bad_request,
              "The option must be between 1 and " + std::to_string(most) + ".", name);
}

// Each value in f32. What is wrong with a series is told with its number.
std::vector<float> checked(const Series& values, const SeriesSpec& spec, size_t index) {
  const std::string place = "series " + std::to_string(index + 1);
  std::vector<float> series;
  for (size_t i = 0; i < values.size(); ++i) {
    series.push_back(static_cast<float>(values[i]));
    if (!std::isinf(series.back())) continue;
    throw Error(ErrorCode::bad_request,
                "Value " + std::to_string(i + 1) + " is infinite or too large.", place);
  }
  const auto looked_at = std::min(std::ssize(series), spec.context);
  if (std::all_of(series.end() - looked_at, series.end(), [](float v) { return std::isnan(v); })) {
    throw Error(ErrorCode::bad_request,
                series.empty() ? "The series is empty."
                               : "None of the last " + std::to_string(looked_at) +
                                     " values, at which the model looks, is known.",
                place);
  }
  return series;
}

void refuse_drawing(const ForecastOptions& options) {
  const char* const given = options.samples       ? "samples"
                            : options.temperature ? "temperature"
                            : options.top_k       ? "top_k"
                            : options.top_p       ? "top_p"
                            : options.seed        ? "seed"
                                                  : nullptr;
  if (given == nullptr) return;
  throw Error(ErrorCode::bad_request,
              "The option is for models that draw paths; this one gives quantiles at once.", given);
}

ForecastSetting forecast_setting(const ForecastOptions& options, const SeriesSpec& series) {
  ForecastSetting setting;
  setting.horizon =
      options.horizon == 0 ? series.horizon : checked(options.horizon, kMostSteps, "horizon");
  setting.levels = options.quantiles;
  for (const double level : setting.levels) {
    if (level >= 0 && level <= 1) continue;
    throw Error(ErrorCode::bad_request, "The levels must lie between 0 and 1.", "quantiles");
  }
  if (series.patch > 0) {
    refuse_drawing(options);
    return setting;
  }
  setting.samples = checked(
      options.samples.value_or(static_cast<int>(std::min<int64_t>(series.samples, kMostSamples))),
      kMostSamples, "samples");
  setting.sampling.temperature = options.temperature.value_or(series.temperature);
  setting.sampling.top_k = options.top_k.value_or(static_cast<int>(series.top_k));
  setting.sampling.top_p = options.top_p.value_or(series.top_p);
  setting.sampling.seed = options.seed ? *options.seed : random_seed();
  check_sampling(setting.sampling);
  return setting;
}

}  // namespace

std::vector<std::vector<float>> checked_series(const Runtime& runtime,
                                               const std::vector<Series>& series) {
  std::vector<std::vector<float>> all;
  for (size_t i = 0; i < series.size(); ++i) {
    all.push_back(checked(series[i], runtime.spec().series, i));
  }
  return all;
}

std::vector<Forecast> forecast_series(Runtime& runtime, const std::vector<Series>& series,
                                      const ForecastOptions& options, ForecastStats* stats) {
  require_series(runtime);
  const ForecastSetting setting = forecast_setting(options, runtime.spec().series);
  const int64_t batch = checked(options.batch, kMostSeries, "batch");
  const std::vector<std::vector<float>> all = checked_series(runtime, series);
  const auto session = runtime.kernels().begin_session();
  const Model& model = runtime.model();
  ForecastStats own;
  std::vector<Forecast> forecasts;
  for (size_t begin = 0; begin < all.size();) {
    const size_t count = std::min(static_cast<size_t>(batch), all.size() - begin);
    for (Forecast& one :
         foretell(model, std::span(all).subspan(begin, count), setting, begin, own)) {
      forecasts.push_back(std::move(one));
    }
    begin += count;
    if (options.on_done && !options.on_done(begin, all.size())) break;
  }
  forecasts.resize(all.size());
  own.seed = setting.sampling.seed.value_or(0);
  own.load_seconds = runtime.load_seconds();
  own.weight_bytes = runtime.weights().bytes() + model.derived_bytes();
  if (stats != nullptr) *stats = own;
  return forecasts;
}

}  // namespace slim
