// slim verify: the chosen cache against a standard one in f32, on the same tokens.
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "command.h"
#include "output.h"
#include "progress.h"
#include "report.h"
#include "series_file.h"

namespace slim::cli {
namespace {

struct Options {
  ModelOptions model;
  std::string input;
  TranscribeOptions transcribe;
  TranslateOptions translate;
  ScoreOptions score;
  bool json = false;
};

void print_json(const Verification& result) {
  const nlohmann::ordered_json all = {{"tokens", result.tokens},
                                      {"sequences", result.sequences},
                                      {"logit_rel", result.logit_rel},
                                      {"logit_max", result.logit_max},
                                      {"kl_mean", result.kl_mean},
                                      {"kl_p99", result.kl_p99},
                                      {"kl_max", result.kl_max},
                                      {"top1", result.top1},
                                      {"context_tokens", result.context_tokens},
                                      {"context_bytes", context_json(result.context)},
                                      {"context_bf16_bytes", result.context_bf16_bytes},
                                      {"bytes_per_token", result.bytes_per_token},
                                      {"bf16_bytes_per_token", result.bf16_bytes_per_token},
                                      {"compute_type", result.compute_type},
                                      {"layers", layers_json(result.layers)}};
  std::printf("%s\n", all.dump(2).c_str());
}

void print_table(const Verification& result) {
  std::printf(
      "tokens     %lld in %lld sequences, each scored against stored rows; the reference is kv and "
      "products in f32\n"
      "products   %s\n",
      static_cast<long long>(result.tokens), static_cast<long long>(result.sequences),
      products_text(result.compute_type).c_str());
  if (result.distributions) {
    std::printf(
        "KL         mean %.2e, 99 %% of tokens below %.2e, max %.2e nats\n"
        "top-1      %.4f agree\n",
        result.kl_mean, result.kl_p99, result.kl_max, result.top1);
  }
  std::printf(
      "%s  differ by at most %.2e, %.2e of the largest\n"
      "rows       %lld bytes a token; a standard cache in bf16: %lld (%.1f %%)\n"
      "context    %s at %lld tokens; a standard cache in bf16: %s (%.1f %%)\n",
      result.distributions ? "logits   " : "quantiles", result.logit_max, result.logit_rel,
      static_cast<long long>(result.bytes_per_token),
      static_cast<long long>(result.bf16_bytes_per_token),
      percent(result.bytes_per_token, result.bf16_bytes_per_token),
      bytes_text(result.context.slim).c_str(), static_cast<long long>(result.context_tokens),
      bytes_text(result.context_bf16_bytes).c_str(),
      percent(result.context.slim, result.context_bf16_bytes));
}

int run(Options& options) {
  Engine engine(options.model.model, options.model.engine);
  const Interrupt interrupt;
  Progress progress(true);
  const auto show = [&](const char* unit, double done, double total) {
    progress.show(options.input, done, total, unit);
    return !interrupt.requested();
  };
  options.score.context = options.model.engine.context;
  options.score.on_progress = [&](int64_t done, int64_t total) {
    return show("tokens", static_cast<double>(done), static_cast<double>(total));
  };
  options.transcribe.on_progress = [&](size_t, double done, double total) {
    return show("s", done, total);
  };
  options.translate.on_done = [&](size_t, size_t done, size_t total) {
    return show("lines", static_cast<double>(done), static_cast<double>(total));
  };
  ForecastOptions forecast;
  forecast.on_done = [&](size_t done, size_t total) {
    return show("series", static_cast<double>(done), static_cast<double>(total));
  };
  const auto verify = [&] {
    if (engine.hears()) return engine.verify(options.input, options.transcribe);
    if (engine.reads()) return engine.verify_translation(options.input, options.translate);
    if (!engine.forecasts()) return engine.verify_text(options.input, options.score);
    return engine.verify_forecast(read_series(options.input, {}).series, forecast);
  };
  const Verification result = verify();
  progress.clear();
  options.json ? print_json(result) : print_table(result);
  return interrupt.requested() ? kInterrupted : 0;
}

}  // namespace

Action add_verify(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  add_model_options(app, options->model);
  app.add_option(
         "input", options->input,
         "Audio for speech models, CSV or JSON for models of series, a text file for others "
         "(lines to translate for models that translate)")
      ->required();
  app.add_option("-l,--language", options->transcribe.language,
                 "Language code (default: detected)");
  app.add_option("--source", options->translate.source, "Language of the lines to translate");
  app.add_option("--target", options->translate.target, "... and to translate them to");
  app.add_option("-n,--tokens", options->score.max_tokens, "Tokens of the text (0: all)")
      ->check(counts())
      ->capture_default_str();
  app.add_flag("--json", options->json, "Print JSON");
  return [options] { return run(*options); };
}

}  // namespace slim::cli
