// Reading of "chronos_config".
#include "models/series_fields.h"

#include <algorithm>
#include <cmath>

#include "models/config_fields.h"

namespace slim {
namespace {

constexpr int64_t kMostOutputs = int64_t{1} << 22;

// Every family keeps the levels in ascending order; reading between two of them needs it.
std::vector<double> read_levels(const JsonObject& fields) {
  std::vector<double> levels = fields.reals("quantiles");
  const auto outside = [](double level) { return !(level > 0 && level < 1); };
  if (levels.empty() || std::any_of(levels.begin(), levels.end(), outside) ||
      std::adjacent_find(levels.begin(), levels.end(), std::greater_equal<>()) != levels.end()) {
    fields.reject("quantiles", "must be levels between 0 and 1 in ascending order");
  }
  return levels;
}

// `reg`: what the config says of the token after the patches.
void read_patches(const JsonObject& fields, ModelSpec& spec) {
  SeriesSpec& series = spec.series;
  series.patch = read_size(fields, "input_patch_size");
  series.stride = fields.integer("input_patch_stride", 1, series.patch);
  series.closed = read_flag(fields, "use_reg_token", false);
  series.levels = read_levels(fields);
  if (series.horizon > kMostOutputs / std::ssize(series.levels)) {
    fields.reject("prediction_length", "asks for more quantiles than can be");
  }
  spec.vocabulary = series.closed ? 2 : 1;
  const int64_t padded = (series.context + series.patch - 1) / series.patch * series.patch;
  spec.encoder.positions = (padded - series.patch) / series.stride + 1 + (series.closed ? 1 : 0);
  spec.decoder.positions = 1;
}

void read_bins(const JsonObject& fields, ModelSpec& spec) {
  SeriesSpec& series = spec.series;
  require(fields, "tokenizer_class", fields.string("tokenizer_class") == "MeanScaleUniformBins",
          "MeanScaleUniformBins");
  require(fields, "model_type", fields.string("model_type") == "seq2seq", "seq2seq");
  const JsonObject limits = fields.object("tokenizer_kwargs");
  series.low = limits.real("low_limit");
  series.high = limits.real("high_limit");
  if (!(series.low < series.high) || !std::isfinite(series.high - series.low)) {
    limits.reject("high_limit", "must be above low_limit");
  }
  // Two centers, at least, of the bins between the special tokens and the last one.
  require(fields, "n_tokens", fields.integer("n_tokens", 1, kLargestSize) == spec.vocabulary,
          "vocab_size");
  series.specials = fields.integer("n_special_tokens", 1, spec.vocabulary);
  if (spec.vocabulary < series.specials + 3) {
    fields.reject("n_special_tokens", "leaves no tokens for values");
  }
  const auto special = [&](const char* field) {
    return static_cast<int32_t>(fields.integer(field, 0, series.specials - 1));
  };
  series.padding = special("pad_token_id");
  series.end = special("eos_token_id");
  series.ended = fields.boolean("use_eos_token");
  series.samples = fields.integer("num_samples", 1, kLargestSize);
  series.temperature = fields.real("temperature");
  series.top_k = fields.has("top_k") ? fields.integer("top_k", 0, kLargestSize) : 0;
  series.top_p = read_real(fields, "top_p", 1);
  spec.encoder.positions = series.context + (series.ended ? 1 : 0);
  spec.decoder.positions = series.horizon;
}

}  // namespace

void read_series(const JsonObject& config, ModelSpec& spec) {
  if (!config.has("chronos_config")) return;
  const JsonObject fields = config.object("chronos_config");
  spec.series.context = read_size(fields, "context_length");
  spec.series.horizon = read_size(fields, "prediction_length");
  fields.has("input_patch_size") ? read_patches(fields, spec) : read_bins(fields, spec);
  spec.series.start =
      static_cast<int32_t>(config.has("decoder_start_token_id")
                               ? config.integer("decoder_start_token_id", 0, spec.vocabulary - 1)
                               : 0);
}

}  // namespace slim
