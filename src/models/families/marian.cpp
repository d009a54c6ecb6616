// Marian, as OPUS-MT's models are: sines and cosines for positions, norms after the sums, a bias on
// the logits. Source and target may have vocabularies of their own.
#include "models/config_fields.h"
#include "models/family.h"
#include "models/translator_fields.h"

namespace slim {
namespace {

ModelSpec read_config(const JsonObject& config) {
  ModelSpec spec = read_translator(config, "marian", {});
  if (!read_flag(config, "share_encoder_decoder_embeddings", true)) {
    spec.source_vocabulary = spec.vocabulary;
    spec.vocabulary = read_size(config, "decoder_vocab_size", spec.vocabulary);
  }
  use_sinusoids(spec, spec.decoder.width / 2);
  use_post_norms(spec);
  spec.head_bias = true;
  return spec;
}

}  // namespace

Family marian() {
  return {.name = "marian",
          .architectures = {"MarianMTModel"},
          .content = {},
          .read_config = read_config,
          .renames = bart_renames(),
          .ignored = {}};
}

}  // namespace slim
