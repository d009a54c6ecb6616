// Pegasus: sines and cosines for positions, norms before the branches, a bias on the logits.
#include "models/family.h"
#include "models/translator_fields.h"

namespace slim {
namespace {

ModelSpec read_config(const JsonObject& config) {
  ModelSpec spec = read_translator(config, "pegasus", {});
  use_sinusoids(spec, spec.decoder.width / 2);
  spec.head_bias = true;
  return spec;
}

}  // namespace

Family pegasus() {
  return {.name = "pegasus",
          .architectures = {"PegasusForConditionalGeneration"},
          .content = {},
          .read_config = read_config,
          .renames = bart_renames(),
          .ignored = {}};
}

}  // namespace slim
