// slim verify: the chosen cache against a standard one in f32, on the same tokens.
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "command.h"
#include "report.h"

namespace slim::cli {
namespace {

struct Options {
  ModelOptions model;
  std::string input;
  TranscribeOptions transcribe;
  bool json = false;
};

void print_json(const Verification& result) {
  const nlohmann::ordered_json all = {{"tokens", result.tokens},
                                      {"logit_rel", result.logit_rel},
                                      {"kl_mean", result.kl_mean},
                                      {"kl_p99", result.kl_p99},
                                      {"kl_max", result.kl_max},
                                      {"top1", result.top1},
                                      {"context_bytes", context_json(result.context)},
                                      {"layers", layers_json(result.layers)}};
  std::printf("%s\n", all.dump(2).c_str());
}

void print_table(const Verification& result) {
  std::printf(
      "tokens     %lld, each scored against stored rows; the reference is kv in f32\n"
      "KL         mean %.2e, 99 %% of tokens below %.2e, max %.2e nats\n"
      "top-1      %.3f agree\n"
      "logits     differ by at most %.2e of the largest\n"
      "context    %s; a standard cache in the same row type: %s (%.2f times as much)\n",
      static_cast<long long>(result.tokens), result.kl_mean, result.kl_p99, result.kl_max,
      result.top1, result.logit_rel, bytes_text(result.context.slim).c_str(),
      bytes_text(result.context.kv).c_str(), result.context.ratio());
}

}  // namespace

Action add_verify(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  add_model_options(app, options->model);
  app.add_option("input", options->input, "Audio for speech models")->required();
  app.add_option("-l,--language", options->transcribe.language,
                 "Language code (default: detected)");
  app.add_flag("--json", options->json, "Print JSON");
  return [options] {
    Engine engine(options->model.model, options->model.engine);
    const Verification result = engine.verify(options->input, options->transcribe);
    options->json ? print_json(result) : print_table(result);
    return 0;
  };
}

}  // namespace slim::cli
