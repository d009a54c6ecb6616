// One line a layer.
#include "report.h"

#include <cstdio>
#include <optional>
#include <string>

namespace slim::cli {
namespace {

nlohmann::ordered_json optional_json(const std::optional<double>& value) {
  return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json(nullptr);
}

std::string optional_text(const std::optional<double>& value) {
  if (!value) return "-";
  char text[32];
  std::snprintf(text, sizeof text, "%.1e", *value);
  return text;
}

}  // namespace

nlohmann::ordered_json layers_json(const std::vector<LayerReport>& layers) {
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  for (const LayerReport& layer : layers) {
    all.push_back({{"layer", layer.layer},
                   {"attention", layer.attention},
                   {"kind", layer.kind},
                   {"row_type", layer.row_type},
                   {"spill", layer.spill},
                   {"rank", layer.rank},
                   {"condition_k", optional_json(layer.condition_k)},
                   {"bytes_per_token", layer.bytes_per_token},
                   {"hot_bytes_per_token", layer.hot_bytes_per_token},
                   {"kv_bytes_per_token", layer.kv_bytes_per_token},
                   {"predicted_error", optional_json(layer.predicted_error)},
                   {"reason", layer.reason}});
  }
  return all;
}

nlohmann::ordered_json context_json(const ContextBytes& context) {
  return {{"kv", context.kv}, {"slim", context.slim}, {"ratio", context.ratio()}};
}

void print_layers(const std::vector<LayerReport>& layers) {
  std::printf(
      "layer  attention  kind     rows  spill  rank  cond(W_K)  bytes/token  as kv  error    "
      "reason\n");
  for (const LayerReport& layer : layers) {
    std::printf("%5lld  %-9s  %-7s  %-4s  %5lld  %4lld  %9s  %11lld  %5lld  %-7s  %s\n",
                static_cast<long long>(layer.layer), layer.attention.c_str(), layer.kind.c_str(),
                layer.row_type.c_str(), static_cast<long long>(layer.spill),
                static_cast<long long>(layer.rank), optional_text(layer.condition_k).c_str(),
                static_cast<long long>(layer.bytes_per_token),
                static_cast<long long>(layer.kv_bytes_per_token),
                optional_text(layer.predicted_error).c_str(), layer.reason.c_str());
  }
}

nlohmann::ordered_json calibration_json(const std::optional<Calibration>& calibration) {
  if (!calibration) return nullptr;
  return {{"tokens", calibration->tokens},
          {"kv_kl", calibration->kv_kl},
          {"kl", calibration->kl},
          {"predicted_budget", calibration->predicted_budget}};
}

void print_calibration(const std::optional<Calibration>& calibration) {
  if (!calibration) return;
  std::printf("\nplan      measured on %lld tokens: KL mean %.2e nats; kv in bf16: %.2e",
              static_cast<long long>(calibration->tokens), calibration->kl, calibration->kv_kl);
  if (calibration->predicted_budget > 0) {
    std::printf("; of predicted error %.3g at most", calibration->predicted_budget);
  }
  std::printf("\n");
}

std::string products_text(const std::string& compute_type) {
  if (compute_type == "float32") return compute_type;
  if (compute_type == "float16") {
    return "float16: of prompts and encoders, activations and what attention multiplies are "
           "rounded to 11 bits";
  }
  std::string rounded;
  if (compute_type.starts_with("int")) {
    const bool bytes = compute_type.starts_with("int8");
    rounded = std::string("with weights of i8, each row of activations is rounded to ") +
              (bytes ? "8" : "16") + " bits, by 1/" + (bytes ? "254" : "65278") +
              " of its largest number at most";
  }
  if (compute_type.ends_with("int16")) {
    rounded += rounded.empty() ? "" : "; ";
    rounded +=
        "what attention multiplies, of the encoder and over whole rows of i16, is rounded to 16 "
        "bits, by 1/92000 of a vector's length or 1/65534 of its largest number at most";
  }
  return compute_type + ": " + rounded;
}

double percent(int64_t part, int64_t whole) {
  return whole > 0 ? 100 * static_cast<double>(part) / static_cast<double>(whole) : 0;
}

}  // namespace slim::cli
