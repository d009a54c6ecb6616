// M2M100 and NLLB (its dense models): sines and cosines for positions, whose first row is the one
// after the padding token's id; norms before the branches, scaled embeddings, ReLU.
#include <algorithm>

#include "models/family.h"
#include "models/translator_fields.h"

namespace slim {
namespace {

constexpr int64_t kMostPadding = 1 << 16;  // each is a row of the table

ModelSpec read_config(const JsonObject& config) {
  ModelSpec spec = read_translator(config, "m2m100", {.activation = "relu", .scaled = true});
  use_sinusoids(spec, std::max<int64_t>(1, spec.decoder.width / 2 - 1));
  const int64_t padding =
      config.has("pad_token_id") ? config.integer("pad_token_id", 0, kMostPadding) : 1;
  spec.encoder.position_offset = spec.decoder.position_offset = padding + 1;
  return spec;
}

}  // namespace

Family m2m100() {
  return {.name = "m2m100",
          .architectures = {"M2M100ForConditionalGeneration"},
          .content = {},
          .read_config = read_config,
          .renames = bart_renames(),
          // Sines and cosines again.
          .ignored = {".embed_positions.weights", ".positions.weights"}};
}

}  // namespace slim
