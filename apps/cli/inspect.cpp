// slim inspect: what would be cached, per layer, and why.
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "command.h"
#include "report.h"

namespace slim::cli {
namespace {

struct Options {
  ModelOptions model;
  bool json = false;
};

void print_json(const Inspection& inspection) {
  const nlohmann::ordered_json all = {{"model", inspection.model},
                                      {"family", inspection.family},
                                      {"encoder_layers", inspection.encoder_layers},
                                      {"decoder_layers", inspection.decoder_layers},
                                      {"width", inspection.width},
                                      {"heads", inspection.heads},
                                      {"mel_bins", inspection.mel_bins},
                                      {"vocabulary", inspection.vocabulary},
                                      {"encoder_positions", inspection.encoder_positions},
                                      {"decoder_positions", inspection.decoder_positions},
                                      {"weight_bytes", inspection.weight_bytes},
                                      {"layers", layers_json(inspection.layers)},
                                      {"context_bytes", context_json(inspection.context)}};
  std::printf("%s\n", all.dump(2).c_str());
}

void print_table(const Inspection& inspection) {
  std::printf(
      "model     %s\nfamily    %s: %lld encoder and %lld decoder layers, width %lld, %lld "
      "heads, %lld mel bins, %lld tokens known\n",
      inspection.model.c_str(), inspection.family.c_str(),
      static_cast<long long>(inspection.encoder_layers),
      static_cast<long long>(inspection.decoder_layers), static_cast<long long>(inspection.width),
      static_cast<long long>(inspection.heads), static_cast<long long>(inspection.mel_bins),
      static_cast<long long>(inspection.vocabulary));
  if (inspection.weight_bytes > 0) {
    std::printf("weights   %s\n", bytes_text(inspection.weight_bytes).c_str());
  }
  std::printf("\n");
  print_layers(inspection.layers);
  std::printf(
      "\ncontext   %lld encoder positions, %lld tokens: %s; a standard cache: %s (%.2f times "
      "as much)\n",
      static_cast<long long>(inspection.encoder_positions),
      static_cast<long long>(inspection.decoder_positions),
      bytes_text(inspection.context.slim).c_str(), bytes_text(inspection.context.kv).c_str(),
      inspection.context.ratio());
}

}  // namespace

Action add_inspect(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  add_model_options(app, options->model);
  app.add_flag("--json", options->json, "Print JSON");
  return [options] {
    const Inspection inspection = inspect(options->model.model, options->model.engine);
    options->json ? print_json(inspection) : print_table(inspection);
    return 0;
  };
}

}  // namespace slim::cli
