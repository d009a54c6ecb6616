// slim bench: times of a model, kv and slim in turn in one run.
#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "command.h"
#include "report.h"

namespace slim::cli {
namespace {

struct Options {
  ModelOptions model;
  BenchOptions bench;
  bool json = false;
};

void print_json(const std::vector<BenchRow>& rows) {
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  for (const BenchRow& row : rows) {
    all.push_back({{"cache", row.cache},
                   {"row_type", row.row_type},
                   {"batch", row.batch},
                   {"prompt_tokens", row.prompt},
                   {"encode_seconds", row.encode_seconds},
                   {"first_token_seconds", row.first_token_seconds},
                   {"step_seconds", row.step_seconds},
                   {"prompt_tokens_per_second", row.prompt_rate},
                   {"tokens_per_second", row.tokens_per_second},
                   {"context_bytes", row.context_bytes},
                   {"peak_rss_bytes", row.peak_rss_bytes},
                   {"step_weight_bytes", row.step_weight_bytes},
                   {"step_row_bytes", row.step_row_bytes},
                   {"read_bytes_per_second", row.read_rate()},
                   {"read_limit_bytes_per_second", row.read_limit},
                   {"read_share", row.read_share()}});
  }
  std::printf("%s\n", all.dump(2).c_str());
}

void print_read_limit(const std::vector<BenchRow>& rows) {
  if (rows.empty()) return;
  std::printf("GB/s: weights and cached rows that a step has to read, over its time; ");
  if (rows.front().read_limit == 0) {
    std::printf("no memory is left to measure the limit\n");
  } else {
    std::printf("limit: a plain read, %.1f GB/s\n", rows.front().read_limit / 1e9);
  }
}

// How many times as fast as kv; where it is not timed there is none, and a forecast at once has no
// steps.
std::string ratio(double rate, double of_kv) {
  return of_kv > 0 ? fmt::format("{:.2f}x", rate / of_kv) : "-";
}

void print_encoded(const std::vector<BenchRow>& rows) {
  std::printf(
      "batch  cache  rows  encoder s  first token s  ms/step  vs kv  tokens/s  vs kv  "
      "  GB/s  of limit  context    peak RSS\n");
  BenchRow kv;
  for (const BenchRow& row : rows) {
    // The standard cache in f32 comes first at each batch size.
    if (row.cache == "kv" && row.row_type == "f32") kv = row;
    std::printf(
        "%5d  %-5s  %-4s  %9.3f  %13.3f  %7.2f  %5s  %8.0f  %5s  %6.1f  %6.1f %%  %-9s  %s\n",
        row.batch, row.cache.c_str(), row.row_type.c_str(), row.encode_seconds,
        row.first_token_seconds, row.step_seconds * 1e3,
        ratio(kv.step_seconds, row.step_seconds).c_str(), row.tokens_per_second,
        ratio(row.tokens_per_second, kv.tokens_per_second).c_str(), row.read_rate() / 1e9,
        100 * row.read_share(), bytes_text(row.context_bytes).c_str(),
        bytes_text(row.peak_rss_bytes).c_str());
  }
  std::printf("tokens/s: from the encoder's output to the last token, the first included\n");
  print_read_limit(rows);
}

void print_text(const std::vector<BenchRow>& rows) {
  std::printf(
      "prompt  batch  cache  rows  prompt s  tokens/s  vs kv  ms/step  tokens/s  vs kv    GB/s  "
      "of limit  context    of kv    peak RSS\n");
  BenchRow kv;
  for (const BenchRow& row : rows) {
    if (row.cache == "kv") kv = row;
    std::printf(
        "%6d  %5d  %-5s  %-4s  %8.3f  %8.1f  %5s  %7.2f  %8.1f  %5s  %6.1f  %6.1f %%  %-9s  %7s  "
        "%s\n",
        row.prompt, row.batch, row.cache.c_str(), row.row_type.c_str(), row.first_token_seconds,
        row.prompt_rate, ratio(row.prompt_rate, kv.prompt_rate).c_str(), row.step_seconds * 1e3,
        row.tokens_per_second, ratio(row.tokens_per_second, kv.tokens_per_second).c_str(),
        row.read_rate() / 1e9, 100 * row.read_share(), bytes_text(row.context_bytes).c_str(),
        kv.context_bytes == 0
            ? "-"
            : fmt::format("{:.1f} %", percent(row.context_bytes, kv.context_bytes)).c_str(),
        bytes_text(row.peak_rss_bytes).c_str());
  }
  print_read_limit(rows);
}

int run(const Options& options) {
  Engine engine(options.model.model, options.model.engine);
  const std::vector<BenchRow> rows = engine.bench(options.bench);
  if (options.json) {
    print_json(rows);
  } else {
    engine.hears() || engine.reads() || engine.forecasts() ? print_encoded(rows) : print_text(rows);
  }
  return 0;
}

}  // namespace

Action add_bench(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  add_model_options(app, options->model);
  app.add_option("-b,--batch", options->bench.batches,
                 "Batch sizes, as 1,16 (default: 1,16,64 of speech, translation and series, 1 of "
                 "text)")
      ->delimiter(',');
  app.add_option("-p,--prompts", options->bench.prompts, "Text: prompt lengths, as 512,1024")
      ->delimiter(',')
      ->capture_default_str();
  app.add_option("--source-tokens", options->bench.source_tokens, "Translation: tokens of a source")
      ->capture_default_str();
  app.add_flag("--alone", options->bench.alone,
               "Speech, translation: the chosen cache without kv beside it");
  app.add_option("--step-tokens", options->bench.step_tokens, "Text: tokens of a pass")
      ->capture_default_str();
  app.add_option("-n,--tokens", options->bench.tokens, "Decoder steps timed")
      ->capture_default_str();
  app.add_option("--repeats", options->bench.repeats, "Medians of this many")
      ->capture_default_str();
  app.add_option("--read-bytes", options->bench.read_bytes,
                 "Memory read to find the read limit; 0: 1 GiB, 2 GiB of a card's")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_flag("--json", options->json, "Print JSON");
  return [options] { return run(*options); };
}

}  // namespace slim::cli
