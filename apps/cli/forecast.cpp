// slim forecast: what comes after series of numbers, as CSV or JSON, and as a picture. Everything
// else goes to stderr.
#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "command.h"
#include "output.h"
#include "output_format.h"
#include "progress.h"
#include "series_file.h"
#include "series_plot.h"
#include "series_times.h"

namespace slim::cli {
namespace {

struct Options {
  ModelOptions model;
  std::string file = "-";
  std::vector<std::string> columns;
  ForecastOptions forecast;
  std::string plot;
  bool json = false;
  bool stats = false;
};

// As CSV has them.
std::string quoted(const std::string& name) {
  if (name.find_first_of(",\"\r\n") == std::string::npos) return name;
  std::string result = "\"";
  for (const char c : name) result += c == '"' ? std::string("\"\"") : std::string(1, c);
  return result + "\"";
}

// Of f32, with as many digits as tell it apart.
std::string number(double value) { return fmt::format("{}", static_cast<float>(value)); }

using Times = std::vector<std::vector<std::string>>;  // of each forecast

// None where the file has no times, or a series' do not go on by a rule.
Times continued(const SeriesFile& file, const std::vector<Forecast>& forecasts) {
  Times all;
  if (file.time.empty()) return all;
  for (size_t i = 0; i < forecasts.size(); ++i) {
    const auto times = times_after(file.times[i], forecasts[i].median.size());
    if (!times) {
      std::fprintf(stderr,
                   "The times of '%s' have no regular step that could go on: steps are numbered.\n",
                   file.names[i].c_str());
      return {};
    }
    all.push_back(*times);
  }
  return all;
}

std::string as_csv(const SeriesFile& file, const std::vector<Forecast>& forecasts,
                   const std::vector<double>& levels, const Times& times) {
  std::string out = file.item.empty() ? "series" : quoted(file.item);
  out += "," + (times.empty() ? "step" : quoted(file.time)) + ",median";
  for (const double level : levels) out += fmt::format(",q{}", level);
  out += "\n";
  for (size_t i = 0; i < forecasts.size(); ++i) {
    const Forecast& one = forecasts[i];
    for (size_t step = 0; step < one.median.size(); ++step) {
      out += fmt::format("{},{},{}", quoted(file.names[i]),
                         times.empty() ? std::to_string(step + 1) : times[i][step],
                         number(one.median[step]));
      for (const std::vector<double>& quantile : one.quantiles) out += "," + number(quantile[step]);
      out += "\n";
    }
  }
  return out;
}

std::string as_json(const SeriesFile& file, const std::vector<Forecast>& forecasts,
                    const std::vector<double>& levels, const Times& times) {
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  for (size_t i = 0; i < forecasts.size(); ++i) {
    const Forecast& one = forecasts[i];
    nlohmann::ordered_json quantiles = nlohmann::ordered_json::object();
    for (size_t level = 0; level < levels.size(); ++level) {
      quantiles[fmt::format("{}", levels[level])] = one.quantiles[level];
    }
    all.push_back({{"series", file.names[i]}, {"values", one.values}});
    if (!times.empty()) all.back()["times"] = times[i];
    all.back()["median"] = one.median;
    all.back()["mean"] = one.mean;
    all.back()["quantiles"] = quantiles;
  }
  return all.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

void print_stats(const ForecastStats& stats, bool draws) {
  std::fprintf(stderr, "load      %9.2f s\n", stats.load_seconds);
  std::fprintf(stderr, "series    %9lld of %lld values: read in %.2f s\n",
               static_cast<long long>(stats.series), static_cast<long long>(stats.values),
               stats.encode_seconds);
  std::fprintf(stderr, "forecast  %9lld passes: %.2f s", static_cast<long long>(stats.steps),
               stats.decode_seconds);
  if (draws) {
    std::fprintf(stderr, ", %lld tokens of all paths; seed %llu",
                 static_cast<long long>(stats.tokens), static_cast<unsigned long long>(stats.seed));
  }
  std::fprintf(stderr, "\nweights   %12s\n", bytes_text(stats.weight_bytes).c_str());
  std::fprintf(stderr, "context   %12s held at most; a standard cache: %s\n",
               bytes_text(stats.context_bytes).c_str(), bytes_text(stats.context_kv_bytes).c_str());
}

void check_plot(const std::string& path) {
  if (path.empty() || path.ends_with(".svg")) return;
  throw Error(ErrorCode::bad_request, "Plots are written as SVG: the file's name must end in .svg.",
              path);
}

// The engine counts series, and the user knows their names.
[[noreturn]] void rethrow_named(const Error& error, const SeriesFile& file) {
  const std::string prefix = "series ";
  if (!error.place().starts_with(prefix)) throw error;
  const size_t number = std::stoull(error.place().substr(prefix.size()));
  throw Error(error.code(), error.text(), file.names.at(number - 1));
}

int run(Options& options) {
  check_plot(options.plot);
  const SeriesFile file = read_series(options.file, options.columns);
  if (!file.note.empty()) std::fprintf(stderr, "%s\n", file.note.c_str());
  Engine engine(options.model.model, options.model.engine);
  const Interrupt interrupt;
  Progress progress(true);
  ForecastOptions& forecast = options.forecast;
  forecast.on_done = [&](size_t done, size_t total) {
    progress.show(options.file, static_cast<double>(done), static_cast<double>(total), "series");
    return !interrupt.requested();
  };
  ForecastStats stats;
  std::vector<Forecast> forecasts;
  const SeriesLimits limits = engine.series_limits();
  try {
    forecasts = engine.forecast(file.series, forecast, &stats);
  } catch (const Error& error) {
    rethrow_named(error, file);
  }
  progress.clear();
  std::erase_if(forecasts, [](const Forecast& one) { return one.median.empty(); });  // interrupted
  if (forecast.horizon > limits.horizon) {
    std::fprintf(stderr,
                 "The model foretells %lld steps at once; those after them go on from its own "
                 "forecast, and are worse.\n",
                 static_cast<long long>(limits.horizon));
  }
  if (!options.plot.empty()) write_file(options.plot, plot(file, forecasts, forecast.quantiles));
  const Times times = continued(file, forecasts);
  put(options.json ? as_json(file, forecasts, forecast.quantiles, times)
                   : as_csv(file, forecasts, forecast.quantiles, times));
  if (options.stats) print_stats(stats, limits.draws);
  return interrupt.requested() ? kInterrupted : 0;
}

void add_path_options(CLI::App& app, ForecastOptions& options) {
  app.add_option("--num-samples", options.samples,
                 "Chronos: paths drawn of each series (default: the model's)");
  app.add_option("--temp,--temperature", options.temperature,
                 "Chronos: temperature (0: the likeliest path; default: the model's)");
  app.add_option("--top-k", options.top_k,
                 "Chronos: draw from the k likeliest tokens (0: all; default: the model's)");
  app.add_option("--top-p", options.top_p,
                 "Chronos: draw from the fewest with this much of the probability (default: the "
                 "model's)");
  app.add_option("--seed", options.seed, "Chronos: seed (default: a random one)")->check(seeds());
}

}  // namespace

Action add_forecast(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  ForecastOptions& forecast = options->forecast;
  add_model_options(app, options->model);
  app.add_option("file", options->file, "Series as CSV, a column each, or JSON (- is stdin)")
      ->capture_default_str();
  app.add_option("--horizon", forecast.horizon,
                 "Steps to forecast (default: as many as the model does at once)")
      ->check(CLI::Range(int64_t{1}, int64_t{100000}));
  app.add_option("--columns", options->columns,
                 "Columns of CSV, or names of JSON, to forecast (default: all that hold numbers)")
      ->delimiter(',');
  app.add_option("--quantiles", forecast.quantiles, "Levels of the quantiles, as 0.1,0.5,0.9")
      ->delimiter(',')
      ->capture_default_str();
  add_path_options(app, forecast);
  app.add_option("--batch-size", forecast.batch, "Series foretold side by side")
      ->capture_default_str();
  app.add_option("--plot", options->plot, "Write a picture to this file")->type_name("FILE.svg");
  app.add_flag("--json", options->json, "Print JSON");
  app.add_flag("--stats", options->stats, "Print times and memory to stderr");
  return [options] { return run(*options); };
}

}  // namespace slim::cli
