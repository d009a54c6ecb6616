// CTranslate2's encoder-decoder models of text (T5, Marian, M2M100, NLLB, BART, mBART, Pegasus):
// one form for all, which says by itself what each does.
#include <fmt/format.h>

#include <array>
#include <cmath>

#include "models/config_fields.h"
#include "models/family.h"
#include "slim/error.h"

namespace slim {
namespace {

[[noreturn]] void refuse(const Checkpoint& checkpoint, const std::string& text) {
  throw Error(ErrorCode::unsupported_model, text, checkpoint.path().string());
}

// A factor: a number, or a flag that asks for the usual one; else 1.
float read_factor(const Checkpoint& checkpoint, const std::string& name, float usual) {
  if (checkpoint.has(name)) return checkpoint.get(name, {}).to_f32().values<float>()[0];
  return checkpoint.scalar(name) == 1 ? usual : 1.0F;
}

Activation read_activation(const Checkpoint& checkpoint, const std::string& side) {
  constexpr std::array kKnown = {Activation::relu, Activation::gelu_tanh, Activation::silu,
                                 Activation::gelu};
  const int64_t code = checkpoint.scalar(side + "/activation");
  if (code >= 0 && code < std::ssize(kKnown)) return kKnown[static_cast<size_t>(code)];
  refuse(checkpoint, fmt::format("The activation {} of the {} is not supported.", code, side));
}

void read_positions(const Checkpoint& checkpoint, const std::string& side, StackSpec& stack) {
  const std::string bias = side + ".relative_bias.weight";
  if (const std::string table = side + ".positions.weight"; checkpoint.has(table)) {
    stack.positions = checkpoint.get(table, {-1, stack.width}).size(0);
  } else if (checkpoint.has(bias)) {
    stack.position_kind = Positions::relative;
    stack.positions = 512;
    stack.buckets = checkpoint.get(bias, {-1, stack.heads}).size(0);
    stack.bias_reach =
        checkpoint.scalar(side + "/layer_0/self_attention/relative_attention_max_distance");
  } else {
    refuse(checkpoint, fmt::format("The {} has no positions that are known here.", side));
  }
}

void read_attention(const Checkpoint& checkpoint, const std::string& side, StackSpec& stack) {
  const std::string block = side + ".layers.0.";
  stack.heads = checkpoint.scalar(side + ".heads");
  const int64_t queries = checkpoint.get(block + "self.q.weight", {-1, stack.width}).size(0);
  if (stack.heads < 1 || queries % stack.heads != 0) {
    refuse(checkpoint, fmt::format("The {} has {} heads of attention.", side, stack.heads));
  }
  stack.head_width = queries / stack.heads;
  stack.qkv_bias = checkpoint.has(block + "self.q.bias");
  stack.out_bias = checkpoint.has(block + "self.out.bias");
  const std::string scale = side + "/layer_0/self_attention/queries_scale";
  if (checkpoint.has(scale)) stack.score_scale = read_factor(checkpoint, scale, 1.0F);
}

StackSpec measure_stack(const Checkpoint& checkpoint, const std::string& side,
                        const JsonObject& config) {
  for (const char* const name : {"/alibi", "/multi_query_attention", "/embeddings_merge"}) {
    if (checkpoint.scalar(side + name) > 0) {
      refuse(checkpoint, fmt::format("'{}{}' is set, which is not supported.", side, name));
    }
  }
  const auto up = [&](int64_t n) { return fmt::format("{}.layers.{}.mlp.up.weight", side, n); };
  StackSpec stack;
  stack.mlp_width = checkpoint.get(up(0), {-1, -1}).size(0);
  stack.width = checkpoint.get(up(0)).size(1);
  while (checkpoint.has(up(stack.layers))) ++stack.layers;
  read_attention(checkpoint, side, stack);
  stack.gated = checkpoint.has(side + ".layers.0.mlp.gate.weight");
  stack.mlp_bias = checkpoint.has(side + ".layers.0.mlp.up.bias");
  stack.activation = read_activation(checkpoint, side);
  stack.norm.offset = checkpoint.has(side + ".layers.0.self.norm.bias");
  stack.norm.kind = stack.norm.offset ? NormKind::layer : NormKind::rms;
  stack.norm.epsilon =
      static_cast<float>(read_real(config, "layer_norm_epsilon", stack.norm.offset ? 1e-5 : 1e-6));
  if (checkpoint.scalar(side + "/pre_norm") == 0) stack.residual = Residual::after_sum;
  stack.final_norm = checkpoint.has(side + ".norm.weight");
  read_positions(checkpoint, side, stack);
  return stack;
}

ModelSpec read_checkpoint(const Checkpoint& checkpoint, const JsonObject& config) {
  ModelSpec spec;
  spec.family = "translator";
  spec.encoder = measure_stack(checkpoint, "encoder", config);
  spec.decoder = measure_stack(checkpoint, "decoder", config);
  const int64_t width = spec.decoder.width;
  spec.zero_start = checkpoint.scalar("decoder/start_from_zero_embedding") == 1;
  spec.vocabulary = checkpoint.get("decoder.embed.weight", {-1, width}).size(0);
  spec.source_vocabulary = checkpoint.get("encoder.embed.weight", {-1, width}).size(0);
  if (spec.zero_start) ++spec.vocabulary;
  if (spec.source_vocabulary == spec.vocabulary) spec.source_vocabulary = 0;
  spec.embed_norm = checkpoint.has("decoder.embed_norm.weight");
  spec.embed_factor =
      read_factor(checkpoint, "decoder/scale_embeddings", std::sqrt(static_cast<float>(width)));
  spec.head_factor = read_factor(checkpoint, "decoder/scale_outputs", 1.0F);
  spec.head_bias = checkpoint.has("head.bias");
  return spec;
}

}  // namespace

Family transformer_spec() {
  return {.name = "translator",
          .architectures = {},
          .content = "TransformerSpec",
          .read_checkpoint = read_checkpoint,
          .renames = {},
          // Numbers that the spec has.
          .ignored = {"/queries_scale", "/scale_embeddings", "/scale_outputs"}};
}

}  // namespace slim
