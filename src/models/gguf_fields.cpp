// Keys as llama.cpp's converters write them.
#include "models/gguf_fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "models/config_fields.h"
#include "slim/error.h"

namespace slim {
namespace {

std::vector<double> numbers_of(const Tensor& tensor) {
  const Tensor values = tensor.to_f32();
  return {values.values<float>(), values.values<float>() + values.elements()};
}

}  // namespace

std::string GgufFields::key(std::string_view name) const {
  return fmt::format("{}.{}", checkpoint_.content(), name);
}

int64_t GgufFields::size(std::string_view name) const {
  return metadata_.integer(key(name), 1, kLargestSize);
}

int64_t GgufFields::size(std::string_view name, int64_t fallback) const {
  return has(name) ? size(name) : fallback;
}

double GgufFields::real(std::string_view name, double fallback) const {
  return has(name) ? metadata_.real(key(name)) : fallback;
}

bool GgufFields::flag(std::string_view name, bool fallback) const {
  return has(name) ? metadata_.boolean(key(name)) : fallback;
}

bool GgufFields::first_layer_has(std::string_view tensor) const {
  return checkpoint_.has(fmt::format("decoder.layers.0.{}", tensor));
}

// A size that may be given for each layer: then it must be the same everywhere.
int64_t GgufFields::layer_size(std::string_view name, int64_t fallback) const {
  if (!metadata_.is_list(key(name))) return size(name, fallback);
  const std::vector<int64_t> sizes = metadata_.integers(key(name), 1, kLargestSize);
  if (sizes.empty() || std::count(sizes.begin(), sizes.end(), sizes[0]) != std::ssize(sizes)) {
    metadata_.reject(key(name), "must be the same for all layers");
  }
  return sizes[0];
}

ModelSpec GgufFields::decoder(std::string family) const {
  ModelSpec spec;
  spec.family = std::move(family);
  spec.vocabulary = checkpoint_.get("decoder.embed.weight", {-1, -1}).size(0);
  spec.tied_head = !checkpoint_.has("head.weight");
  spec.head_bias = checkpoint_.has("head.bias");
  StackSpec& stack = spec.decoder;
  stack.layers = metadata_.integer(key("block_count"), 1, kMostLayers);
  stack.width = size("embedding_length");
  stack.heads = layer_size("attention.head_count", 0);
  stack.key_heads = layer_size("attention.head_count_kv", stack.heads);
  stack.head_width = size("attention.key_length", 0);
  if (size("attention.value_length", stack.width_of_head()) != stack.width_of_head()) {
    metadata_.reject(key("attention.value_length"), "must be that of keys");
  }
  stack.mlp_width = layer_size("feed_forward_length", 0);
  stack.positions = metadata_.integer(key("context_length"), 1, kMostPositions);
  const bool stacked = first_layer_has("self.qkv.weight");
  stack.packing = stacked ? Packing::stacked : Packing::separate;
  stack.qkv_bias = first_layer_has(stacked ? "self.qkv.bias" : "self.q.bias");
  stack.out_bias = first_layer_has("self.out.bias");
  stack.mlp_bias = first_layer_has("mlp.up.bias");
  if (const int64_t window = size("attention.sliding_window", 0); window > 0) {
    stack.windows.assign(static_cast<size_t>(stack.layers), window);
  }
  return spec;
}

RopeSpec GgufFields::rope(int64_t head_width, bool interleaved) const {
  RopeSpec rope;
  rope.width = size("rope.dimension_count", head_width);
  rope.interleaved = interleaved;
  rope.base = real("rope.freq_base", 10000);
  rope.original = metadata_.integer(key("context_length"), 1, kMostPositions);
  if (!(rope.base > 0)) metadata_.reject(key("rope.freq_base"), "must be above 0");
  if (checkpoint_.has("rope.factors")) {
    rope.divisors = numbers_of(checkpoint_.get("rope.factors", {rope.width / 2}));
  }
  read_scaling(rope);
  return rope;
}

void GgufFields::read_scaling(RopeSpec& rope) const {
  rope.original = size("rope.scaling.original_context_length", rope.original);
  rope.factor = real("rope.scaling.factor", 1);
  if (!(rope.factor > 0)) metadata_.reject(key("rope.scaling.factor"), "must be above 0");
  if (checkpoint_.has("rope.factors_long")) {
    rope.scaling = RopeScaling::longrope;
    rope.magnitude = real("rope.scaling.attn_factor", 1);
    rope.long_factors = numbers_of(checkpoint_.get("rope.factors_long", {rope.width / 2}));
    rope.short_factors = numbers_of(checkpoint_.get("rope.factors_short", {rope.width / 2}));
    return;
  }
  const std::string_view type =
      has("rope.scaling.type") ? metadata_.string(key("rope.scaling.type")) : "none";
  if (type == "none") return;
  if (type == "linear") {
    rope.scaling = RopeScaling::linear;
  } else if (type == "yarn") {
    rope.scaling = RopeScaling::yarn;
    const double usual = rope.factor <= 1 ? 1.0 : 0.1 * std::log(rope.factor) + 1.0;
    rope.magnitude = usual * real("rope.scaling.attn_factor", 1);
    rope.beta_fast = real("rope.scaling.yarn_beta_fast", rope.beta_fast);
    rope.beta_slow = real("rope.scaling.yarn_beta_slow", rope.beta_slow);
  } else {
    throw Error(ErrorCode::unsupported_model,
                fmt::format("The rope type '{}' is not supported; there is none, linear, yarn and "
                            "longrope with its factors.",
                            type),
                metadata_.place());
  }
}

}  // namespace slim
