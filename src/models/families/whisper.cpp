// Whisper (openai/whisper-*, distil-whisper, CrisperWhisper): log-mel spectrogram to text. Sizes
// come from Hugging Face's config.json, or from the shapes of a CTranslate2 or ggml checkpoint.
#include <fmt/format.h>

#include <algorithm>

#include "models/alignment_heads.h"
#include "models/config_fields.h"
#include "models/family.h"
#include "models/translator_fields.h"
#include "slim/error.h"

namespace slim {
namespace {

// A table of positions has a row for each.
constexpr int64_t kMostRows = 1 << 16;

StackSpec read_stack(const JsonObject& config, const std::string& side,
                     const std::string& positions) {
  StackSpec stack;
  stack.layers = config.integer(side + "_layers", 1, kMostLayers);
  stack.width = read_size(config, "d_model");
  stack.heads = read_size(config, side + "_attention_heads");
  stack.mlp_width = read_size(config, side + "_ffn_dim");
  stack.positions = config.integer(positions, 1, kMostRows);
  stack.key_bias = false;
  return stack;
}

// Some files leave out the encoder's table: it is made of sines and cosines.
void compute_positions(StackSpec& encoder) {
  if (encoder.width % 2 != 0) return;
  encoder.position_kind = Positions::sinusoid;
  encoder.sinusoid_steps = std::max<int64_t>(1, encoder.width / 2 - 1);
}

ModelSpec read_config(const JsonObject& config) {
  require(config, "model_type", config.string("model_type") == "whisper", "\"whisper\"");
  require(config, "activation_function", config.string("activation_function") == "gelu",
          "\"gelu\"");
  require(config, "scale_embedding", !config.boolean("scale_embedding"), "false");
  ModelSpec spec;
  spec.family = "whisper";
  spec.vocabulary = read_size(config, "vocab_size");
  spec.mel_bins = read_size(config, "num_mel_bins");
  spec.encoder = read_stack(config, "encoder", "max_source_positions");
  compute_positions(spec.encoder);
  spec.decoder = read_stack(config, "decoder", "max_target_positions");
  spec.alignment_heads = read_alignment_heads(config, spec.decoder);
  return spec;
}

StackSpec measure_stack(const Checkpoint& checkpoint, const std::string& side, int64_t width) {
  StackSpec stack;
  stack.width = width;
  stack.key_bias = false;
  stack.positions = checkpoint.get(side + ".positions.weight", {-1, width}).size(0);
  const auto up = [&](int64_t n) { return fmt::format("{}.layers.{}.mlp.up.weight", side, n); };
  stack.mlp_width = checkpoint.get(up(0), {-1, width}).size(0);
  while (checkpoint.has(up(stack.layers))) ++stack.layers;
  stack.heads = checkpoint.scalar(side + ".heads");
  if (stack.heads == -1) stack.heads = width / 64;  // not stored: as in every published size
  return stack;
}

void require(const Checkpoint& checkpoint, const char* name, int64_t value) {
  const int64_t stored = checkpoint.scalar(name);
  if (stored == -1 || stored == value) return;
  throw Error(ErrorCode::unsupported_model,
              fmt::format("'{}' is {}; only {} is supported.", name, stored, value),
              checkpoint.path().string());
}

ModelSpec read_checkpoint(const Checkpoint& checkpoint, const JsonObject& config) {
  require(checkpoint, "decoder/activation", 3);  // GELU by erf
  require(checkpoint, "decoder/pre_norm", 1);
  require(checkpoint, "decoder/scale_embeddings", 0);
  ModelSpec spec;
  spec.family = "whisper";
  const Tensor& first = checkpoint.get("encoder.conv1.weight", {-1, -1, 3});
  spec.mel_bins = first.size(1);
  spec.encoder = measure_stack(checkpoint, "encoder", first.size(0));
  spec.decoder = measure_stack(checkpoint, "decoder", first.size(0));
  spec.vocabulary = checkpoint.get("decoder.embed.weight", {-1, first.size(0)}).size(0);
  spec.alignment_heads = read_alignment_heads(config, spec.decoder);
  return spec;
}

// BART's names, and the head by its own.
Checkpoint::Renames whisper_renames() {
  Checkpoint::Renames renames = bart_renames();
  renames.insert(renames.begin(), {"proj_out.weight", "head.weight"});
  return renames;
}

}  // namespace

Family whisper() {
  return {.name = "whisper",
          .architectures = {"WhisperForConditionalGeneration"},
          .content = "WhisperSpec",
          .read_config = read_config,
          .read_checkpoint = read_checkpoint,
          .renames = whisper_renames(),
          // CTranslate2's place for what config.json holds.
          .ignored = {"decoder/alignment_heads"}};
}

}  // namespace slim
