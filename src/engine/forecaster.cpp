// Both ways of forecasting.
#include "engine/forecaster.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "base/stopwatch.h"
#include "engine/logits.h"
#include "engine/sampler.h"
#include "engine/series_source.h"
#include "engine/step_batch.h"
#include "slim/error.h"

namespace slim {
namespace {

// Sequences over the encoder rows of the contexts they go on from.
struct Reading {
  std::vector<PageTable> encoded;
  std::vector<Sequence> sequences;  // one for each context
};

Reading read(const Model& model, std::span<const SeriesSource> sources, ForecastStats& stats) {
  const Stopwatch clock;
  Reading reading{remember_series(model, sources), {}};
  for (const PageTable& rows : reading.encoded) {
    reading.sequences.push_back({model.new_sequence(), &rows});
  }
  stats.encode_seconds += clock.seconds();
  return reading;
}

void note_peak(const Model& model, std::span<const Sequence> sequences, ForecastStats& stats) {
  std::vector<const Sequence*> all;
  for (const Sequence& sequence : sequences) all.push_back(&sequence);
  ContextBytes peak{stats.context_kv_bytes, stats.context_bytes};
  raise_peak(model, all, &peak);
  stats.context_bytes = peak.slim;
  stats.context_kv_bytes = peak.kv;
}

// What the next step of a forecast is made of: of finite values near the largest of 32 bits, and
// where a forecast goes on from itself for long, it may be beyond them.
void check_numbers(std::span<const double> values, const Forecast& before, uint64_t series) {
  if (std::all_of(values.begin(), values.end(),
                  [](double value) { return std::isfinite(static_cast<float>(value)); })) {
    return;
  }
  throw Error(ErrorCode::bad_request,
              "Step " + std::to_string(before.median.size() + 1) +
                  " of the forecast is no number: it is beyond what 32 bits can hold.",
              "series " + std::to_string(series + 1));
}

class Patches {
 public:
  Patches(const Model& model, const ForecastSetting& setting, ForecastStats& stats)
      : model_(model), series_(model.spec().series), setting_(setting), stats_(stats) {
    all_levels_ = {0};
    all_levels_.insert(all_levels_.end(), series_.levels.begin(), series_.levels.end());
    all_levels_.push_back(1);
    trained_ = std::all_of(setting.levels.begin(), setting.levels.end(),
                           [&](double level) { return index_of(level) < series_.levels.size(); });
  }

  void run(std::span<const std::vector<float>> series, uint64_t stream,
           std::span<Forecast> forecasts) const {
    const size_t levels = series_.levels.size();
    std::vector<std::vector<float>> contexts(series.begin(), series.end());
    std::vector<std::vector<double>> next = predict(contexts);
    add(next, stream, forecasts);
    for (int64_t done = series_.horizon; done < setting_.horizon; done += series_.horizon) {
      if (contexts.size() == series.size()) contexts = repeated(contexts, levels);
      for (size_t i = 0; i < contexts.size(); ++i) {
        extend(contexts[i], row(next[i / levels], i % levels));
      }
      next = reduced(predict(contexts));
      add(next, stream, forecasts);
    }
  }

 private:
  // Of each context: levels x horizon values, as rows.
  std::vector<std::vector<double>> predict(std::span<const std::vector<float>> contexts) const {
    std::vector<SeriesSource> sources;
    for (const std::vector<float>& context : contexts) {
      sources.push_back(cut_patches(series_, context));
    }
    Reading reading = read(model_, sources, stats_);
    const Stopwatch clock;
    StepBatch step(model_);
    step.clear();
    for (Sequence& sequence : reading.sequences) step.add(sequence, {&series_.start, 1});
    step.run();
    note_peak(model_, reading.sequences, stats_);
    std::vector<std::vector<double>> all;
    for (size_t i = 0; i < sources.size(); ++i) {
      const std::span<const float> outputs = step.logits(static_cast<int64_t>(i));
      check_logits(outputs);
      std::vector<double>& values = all.emplace_back();
      for (const float output : outputs) {
        values.push_back(output * sources[i].scale + sources[i].location);
      }
    }
    ++stats_.steps;
    stats_.decode_seconds += clock.seconds();
    return all;
  }

  std::span<const double> row(std::span<const double> values, size_t level) const {
    const auto horizon = static_cast<size_t>(series_.horizon);
    return values.subspan(level * horizon, horizon);
  }

  static std::vector<std::vector<float>> repeated(const std::vector<std::vector<float>>& contexts,
                                                  size_t times) {
    std::vector<std::vector<float>> all;
    for (const std::vector<float>& context : contexts) all.insert(all.end(), times, context);
    return all;
  }

  void extend(std::vector<float>& context, std::span<const double> values) const {
    for (const double value : values) context.push_back(static_cast<float>(value));
    const auto most = static_cast<std::ptrdiff_t>(series_.context);
    if (std::ssize(context) > most) context.erase(context.begin(), context.end() - most);
  }

  // The quantiles of what follows all quantiles of a series.
  std::vector<std::vector<double>> reduced(const std::vector<std::vector<double>>& each) const {
    const size_t levels = series_.levels.size();
    const auto horizon = static_cast<size_t>(series_.horizon);
    std::vector<std::vector<double>> all;
    for (size_t first = 0; first < each.size(); first += levels) {
      std::vector<double>& values = all.emplace_back(levels * horizon);
      for (size_t t = 0; t < horizon; ++t) {
        std::vector<double> at;
        for (size_t i = 0; i < levels * levels; ++i) {
          at.push_back(row(each[first + i / levels], i % levels)[t]);
        }
        std::sort(at.begin(), at.end());
        for (size_t i = 0; i < levels; ++i) {
          values[i * horizon + t] = quantile_of(at, series_.levels[i]);
        }
      }
    }
    return all;
  }

  void add(const std::vector<std::vector<double>>& next, uint64_t stream,
           std::span<Forecast> forecasts) const {
    for (size_t i = 0; i < next.size(); ++i) {
      const auto left = setting_.horizon - std::ssize(forecasts[i].median);
      for (int64_t t = 0; t < std::min(left, series_.horizon); ++t) {
        std::vector<double> at;
        for (size_t level = 0; level < series_.levels.size(); ++level) {
          at.push_back(row(next[i], level)[static_cast<size_t>(t)]);
        }
        check_numbers(at, forecasts[i], stream + i);
        add_value(at, forecasts[i]);
      }
    }
  }

  size_t index_of(double level) const {
    const auto found = std::find(series_.levels.begin(), series_.levels.end(), level);
    return static_cast<size_t>(found - series_.levels.begin());
  }

  // `values`: the quantiles of the next value. As the package reads them: those of trained levels
  // as they are, even where one lies above the next; but if any other is asked for, all of them
  // between values in ascending order, the outermost of which go on to levels 0 and 1.
  void add_value(std::span<const double> values, Forecast& forecast) const {
    std::vector<double> ascending(values.begin(), values.end());
    ascending.push_back(values.front());
    ascending.push_back(values.back());
    std::sort(ascending.begin(), ascending.end());
    const auto read = [&](double level, bool trained) {
      return trained ? values[index_of(level)] : at_level(all_levels_, ascending, level);
    };
    forecast.median.push_back(read(0.5, index_of(0.5) < values.size()));
    forecast.mean.push_back(forecast.median.back());
    for (size_t i = 0; i < setting_.levels.size(); ++i) {
      forecast.quantiles[i].push_back(read(setting_.levels[i], trained_));
    }
  }

  const Model& model_;
  const SeriesSpec& series_;
  const ForecastSetting& setting_;
  ForecastStats& stats_;
  std::vector<double> all_levels_;  // with 0 and 1
  bool trained_ = false;            // all that are asked for
};

class Paths {
 public:
  Paths(const Model& model, const ForecastSetting& setting, ForecastStats& stats)
      : model_(model),
        series_(model.spec().series),
        setting_(setting),
        stats_(stats),
        bins_(model.spec()) {}

  void run(std::span<const std::vector<float>> series, uint64_t stream,
           std::span<Forecast> forecasts) const {
    std::vector<std::vector<float>> contexts(series.begin(), series.end());
    std::vector<Sampler> samplers;
    for (uint64_t i = 0; i < series.size(); ++i) {
      for (int64_t path = 0; path < setting_.samples; ++path) {
        samplers.emplace_back(setting_.sampling, (stream + i) << 20 | static_cast<uint64_t>(path),
                              -1);
      }
    }
    for (int64_t done = 0; done < setting_.horizon; done += series_.horizon) {
      std::vector<SeriesSource> sources;
      for (const std::vector<float>& context : contexts) sources.push_back(bins_.read(context));
      const int64_t count = std::min(series_.horizon, setting_.horizon - done);
      const std::vector<std::vector<int32_t>> tokens = draw(sources, count, samplers);
      for (size_t i = 0; i < contexts.size(); ++i) {
        add(tokens, {i, stream + i}, sources[i].scale, contexts[i], forecasts[i]);
      }
    }
  }

 private:
  // By step: a token for each path of each source, those of a source side by side.
  std::vector<std::vector<int32_t>> draw(std::span<const SeriesSource> sources, int64_t count,
                                         std::vector<Sampler>& samplers) const {
    Reading reading = read(model_, sources, stats_);
    const Stopwatch clock;
    StepBatch step(model_);
    step.clear();
    for (Sequence& sequence : reading.sequences) step.add(sequence, {&series_.start, 1});
    std::vector<std::vector<int32_t>> tokens;
    std::vector<Sequence> paths;
    const auto samples = static_cast<size_t>(setting_.samples);
    while (true) {
      step.run();
      ++stats_.steps;
      const bool first = tokens.empty();
      note_peak(model_, first ? reading.sequences : paths, stats_);
      tokens.push_back(chosen(step, first ? samples : 1, samplers));
      if (std::ssize(tokens) == count) break;
      for (size_t i = 0; first && i < samplers.size(); ++i) {
        paths.push_back(reading.sequences[i / samples].fork());
      }
      step.clear();
      for (size_t i = 0; i < paths.size(); ++i) step.add(paths[i], {&tokens.back()[i], 1});
    }
    stats_.tokens += count * std::ssize(samplers);
    stats_.decode_seconds += clock.seconds();
    return tokens;
  }

  // A row serves `each` paths. A path has as many tokens as are asked for: none is its end.
  std::vector<int32_t> chosen(StepBatch& step, size_t each, std::vector<Sampler>& samplers) const {
    std::vector<int32_t> tokens;
    std::vector<float> own;
    for (size_t i = 0; i < samplers.size(); ++i) {
      const std::span<const float> logits = step.logits(static_cast<int64_t>(i / each));
      own.assign(logits.begin(), logits.end());
      own[static_cast<size_t>(series_.end)] = -std::numeric_limits<float>::infinity();
      tokens.push_back(samplers[i].sample(own).token);
    }
    return tokens;
  }

  struct Place {
    size_t index;     // among those foretold together
    uint64_t series;  // among all
  };

  void add(const std::vector<std::vector<int32_t>>& tokens, const Place& place, float scale,
           std::vector<float>& context, Forecast& forecast) const {
    const auto samples = static_cast<size_t>(setting_.samples);
    for (const std::vector<int32_t>& step : tokens) {
      std::vector<double> values;
      double sum = 0;
      for (const int32_t token : std::span(step).subspan(place.index * samples, samples)) {
        values.push_back(bins_.value(token) * scale);
        sum += values.back();
      }
      check_numbers(values, forecast, place.series);
      std::sort(values.begin(), values.end());
      context.push_back(static_cast<float>(values[(samples - 1) / 2]));
      forecast.median.push_back(quantile_of(values, 0.5));
      forecast.mean.push_back(sum / static_cast<double>(samples));
      for (size_t i = 0; i < setting_.levels.size(); ++i) {
        forecast.quantiles[i].push_back(quantile_of(values, setting_.levels[i]));
      }
    }
  }

  const Model& model_;
  const SeriesSpec& series_;
  const ForecastSetting& setting_;
  ForecastStats& stats_;
  SeriesBins bins_;
};

}  // namespace

std::vector<Forecast> foretell(const Model& model, std::span<const std::vector<float>> series,
                               const ForecastSetting& setting, uint64_t stream,
                               ForecastStats& stats) {
  const SeriesSpec& spec = model.spec().series;
  std::vector<Forecast> forecasts(series.size());
  for (size_t i = 0; i < series.size(); ++i) {
    forecasts[i].values = std::min(std::ssize(series[i]), spec.context);
    forecasts[i].quantiles.resize(setting.levels.size());
    stats.values += forecasts[i].values;
  }
  if (spec.patch > 0) {
    Patches(model, setting, stats).run(series, stream, forecasts);
  } else {
    Paths(model, setting, stats).run(series, stream, forecasts);
  }
  stats.series += std::ssize(series);
  return forecasts;
}

}  // namespace slim
