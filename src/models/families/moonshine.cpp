// Moonshine (UsefulSensors/moonshine-tiny, -base and their kin): samples to text, without a
// spectrogram and without padding: an encoder that takes any length. Part of each head rotates in
// pairs of neighbours, in self-attention alone; norms without a bias; no biases in attention.
#include "models/config_fields.h"
#include "models/family.h"
#include "models/waveform.h"

namespace slim {
namespace {

StackSpec read_stack(const JsonObject& config, const std::string& side) {
  const std::string heads = side + "_num_attention_heads";
  const std::string key_heads = side + "_num_key_value_heads";
  StackSpec stack;
  stack.layers = config.integer(side + "_num_hidden_layers", 1, kMostLayers);
  stack.width = read_size(config, "hidden_size");
  stack.heads = read_size(config, heads);
  require(config, key_heads, read_size(config, key_heads, stack.heads) == stack.heads,
          "the number of attention heads");
  stack.mlp_width = read_size(config, "intermediate_size");
  stack.norm.offset = false;
  stack.qkv_bias = read_flag(config, "attention_bias", false);
  stack.out_bias = false;
  stack.activation = read_activation(config, side + "_hidden_act", "gelu");
  stack.position_kind = Positions::rotary;
  stack.rope = read_rope(config, stack.width_of_head(), {.share = 0.9});
  stack.rope.interleaved = true;
  return stack;
}

ModelSpec read_config(const JsonObject& config) {
  ModelSpec spec;
  spec.family = "moonshine";
  spec.vocabulary = read_size(config, "vocab_size");
  spec.tied_head = read_flag(config, "tie_word_embeddings", true);
  spec.waveform = true;
  spec.encoder = read_stack(config, "encoder");
  spec.encoder.positions = waveform_rows(kWaveformLongest);
  spec.decoder = read_stack(config, "decoder");
  require(config, "encoder_num_attention_heads", spec.encoder.heads == spec.decoder.heads,
          "the decoder's number of attention heads");
  spec.decoder.positions = config.integer("max_position_embeddings", 1, kMostPositions);
  spec.decoder.activation = read_activation(config, "decoder_hidden_act", "silu");
  spec.decoder.gated = spec.decoder.packed_gate = spec.decoder.up_first = true;
  return spec;
}

}  // namespace

Family moonshine() {
  return {
      .name = "moonshine",
      .architectures = {"MoonshineForConditionalGeneration"},
      .content = {},
      .read_config = read_config,
      .renames = {{"proj_out.", "head."},
                  {"model.encoder.", "encoder."},
                  {"model.decoder.", "decoder."},
                  {"decoder.embed_tokens.", "decoder.embed."},
                  {"encoder.layer_norm.", "encoder.norm."},
                  {"encoder.groupnorm.", "encoder.conv_norm."},
                  {"encoder.layers.#.post_attention_layernorm.", "encoder.layers.#.mlp.norm."},
                  {"decoder.layers.#.post_attention_layernorm.", "decoder.layers.#.cross.norm."},
                  {".input_layernorm.", ".self.norm."},
                  {".final_layernorm.", ".mlp.norm."},
                  {".self_attn.", ".self."},
                  {".encoder_attn.", ".cross."},
                  {".o_proj.", ".out."},
                  {"_proj.", "."},
                  {"encoder.layers.#.mlp.fc1.", "encoder.layers.#.mlp.up."},
                  {"decoder.layers.#.mlp.fc1.", "decoder.layers.#.mlp.gate_up."},
                  {".mlp.fc2.", ".mlp.down."}},
      .ignored = {".rotary_emb.inv_freq"}};
}

}  // namespace slim
