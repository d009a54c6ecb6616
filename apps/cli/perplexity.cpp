// slim perplexity: how well a language model foretells a text under the chosen cache.
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "command.h"
#include "output.h"
#include "progress.h"

namespace slim::cli {
namespace {

struct Options {
  ModelOptions model;
  std::string file;
  ScoreOptions score;
  bool json = false;
};

void print(const Perplexity& result, bool json) {
  if (json) {
    const nlohmann::ordered_json all = {
        {"tokens", result.tokens},         {"sequences", result.sequences},
        {"nll_mean", result.nll_mean},     {"nll_error", result.nll_error},
        {"perplexity", result.perplexity}, {"seconds", result.seconds}};
    put(all.dump(2) + "\n");
    return;
  }
  std::printf(
      "tokens      %lld in %lld sequences, each scored against stored rows\n"
      "loss        %.5f +- %.5f nats a token\n"
      "perplexity  %.4f\n",
      static_cast<long long>(result.tokens), static_cast<long long>(result.sequences),
      result.nll_mean, result.nll_error, result.perplexity);
}

int run(Options& options) {
  Engine engine(options.model.model, options.model.engine);
  const Interrupt interrupt;
  Progress progress(true);
  options.score.context = options.model.engine.context;
  options.score.on_progress = [&](int64_t done, int64_t total) {
    progress.show(options.file, static_cast<double>(done), static_cast<double>(total), "tokens");
    return !interrupt.requested();
  };
  const Perplexity result = engine.perplexity(options.file, options.score);
  progress.clear();
  print(result, options.json);
  return interrupt.requested() ? kInterrupted : 0;
}

}  // namespace

Action add_perplexity(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  add_model_options(app, options->model);
  app.add_option("-f,--file", options->file, "Text, cut into sequences of --context tokens")
      ->required();
  app.add_option("-n,--tokens", options->score.max_tokens, "Tokens of the text (0: all)")
      ->check(counts())
      ->capture_default_str();
  app.add_flag("--json", options->json, "Print JSON");
  return [options] { return run(*options); };
}

}  // namespace slim::cli
