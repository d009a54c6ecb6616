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
                                      {"key_heads", inspection.key_heads},
                                      {"mel_bins", inspection.mel_bins},
                                      {"vocabulary", inspection.vocabulary},
                                      {"encoder_positions", inspection.encoder_positions},
                                      {"decoder_positions", inspection.decoder_positions},
                                      {"series_context", inspection.series_context},
                                      {"series_horizon", inspection.series_horizon},
                                      {"unpacked_weights", inspection.unpacked_weights},
                                      {"weight_bytes", inspection.weight_bytes},
                                      {"derived_bytes", inspection.derived_bytes},
                                      {"compute_type", inspection.compute_type},
                                      {"rounded_head_bytes", inspection.rounded_head_bytes},
                                      {"layers", layers_json(inspection.layers)},
                                      {"calibration", calibration_json(inspection.calibration)},
                                      {"context_tokens", inspection.context_tokens},
                                      {"context_bytes", context_json(inspection.context)},
                                      {"context_bf16_bytes", inspection.context_bf16_bytes}};
  std::printf("%s\n", all.dump(2).c_str());
}

void print_model(const Inspection& inspection) {
  const auto number = [](int64_t value) { return static_cast<long long>(value); };
  std::printf("model     %s\nfamily    %s: ", inspection.model.c_str(), inspection.family.c_str());
  if (inspection.encoder_layers > 0) {
    std::printf("%lld encoder and %lld decoder layers, ", number(inspection.encoder_layers),
                number(inspection.decoder_layers));
    if (inspection.mel_bins > 0) std::printf("%lld mel bins, ", number(inspection.mel_bins));
  } else {
    std::printf("%lld layers, ", number(inspection.decoder_layers));
  }
  std::printf("width %lld, %lld heads (%lld of keys), %lld tokens known\n",
              number(inspection.width), number(inspection.heads), number(inspection.key_heads),
              number(inspection.vocabulary));
  if (inspection.series_horizon > 0) {
    std::printf("series    %lld values looked at, %lld foretold at once\n",
                number(inspection.series_context), number(inspection.series_horizon));
  }
  if (inspection.unpacked_weights > 0) {
    std::printf("unpacked  %lld matrices, of q4_1, q5_0 or q5_1, are f32 in memory\n",
                number(inspection.unpacked_weights));
  }
  std::printf("products  %s\n", products_text(inspection.compute_type).c_str());
  if (inspection.rounded_head_bytes > 0) {
    std::printf(
        "head      in integers first, then exact for all that may be likeliest: the same "
        "tokens, log-probabilities to some 1e-4; adds %s\n",
        bytes_text(inspection.rounded_head_bytes).c_str());
  }
  std::printf("weights   %s%s; the cache adds %s (%+.2f %%)\n\n",
              bytes_text(inspection.weight_bytes).c_str(),
              inspection.has_weights ? "" : " in 16 bits",
              bytes_text(inspection.derived_bytes).c_str(),
              percent(inspection.derived_bytes, inspection.weight_bytes));
}

void print_table(const Inspection& inspection) {
  print_model(inspection);
  print_layers(inspection.layers);
  print_calibration(inspection.calibration);
  std::printf("\ncontext   %lld tokens", static_cast<long long>(inspection.context_tokens));
  if (inspection.encoder_layers > 0) {
    std::printf(", %lld encoder positions", static_cast<long long>(inspection.encoder_positions));
  }
  std::printf(": %s; a standard cache in bf16: %s (slim holds %.1f %% of it)\n",
              bytes_text(inspection.context.slim).c_str(),
              bytes_text(inspection.context_bf16_bytes).c_str(),
              percent(inspection.context.slim, inspection.context_bf16_bytes));
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
