// BART and mBART: learned positions from row 2 on, a norm of the embeddings, a bias on the logits.
// BART's norms come after the sums, mBART's before the branches with one more at the end.
#include "models/family.h"
#include "models/translator_fields.h"

namespace slim {
namespace {

ModelSpec read_config(const JsonObject& config) {
  const bool multilingual = config.string("model_type") == "mbart";
  ModelSpec spec = read_translator(config, multilingual ? "mbart" : "bart", {});
  if (!multilingual) use_post_norms(spec);
  spec.encoder.position_offset = spec.decoder.position_offset = 2;
  spec.embed_norm = true;
  spec.head_bias = true;
  return spec;
}

}  // namespace

Family bart() {
  return {.name = "bart",
          .architectures = {"BartForConditionalGeneration", "MBartForConditionalGeneration"},
          .content = {},
          .read_config = read_config,
          .renames = bart_renames(),
          .ignored = {"coder.version"}};
}

}  // namespace slim
