// What the config.json files of language models have in common. A field that is missing or null
// gets the value that its class in Transformers gives it, which the family states; a value that
// nothing here knows is an Error naming the field.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/json.h"
#include "models/spec.h"
#include "weights/checkpoint.h"

namespace slim {

// Far above any model; no product of two overflows, and no table made from them fills memory.
constexpr int64_t kMostLayers = 1024;
constexpr int64_t kMostPositions = int64_t{1} << 24;
constexpr int64_t kLargestSize = int64_t{1} << 22;

// A size in [1, kLargestSize].
int64_t read_size(const JsonObject& config, std::string_view field);
int64_t read_size(const JsonObject& config, std::string_view field, int64_t fallback);
double read_real(const JsonObject& config, std::string_view field, double fallback);
bool read_flag(const JsonObject& config, std::string_view field, bool fallback);
// Rejects the field unless `holds`: "must be <value>; no other value is supported".
void require(const JsonObject& config, std::string_view field, bool holds, std::string_view value);
// "gelu", "gelu_new", "gelu_pytorch_tanh", "gelu_fast", "relu", "silu", "swish".
Activation read_activation(const JsonObject& config, std::string_view field,
                           std::string_view fallback);
// The one of such a name, which is `field`'s value or part of it.
Activation activation_of(const JsonObject& config, std::string_view field, std::string_view name);

// A decoder under Llama's field names, which most families use: vocab_size, hidden_size,
// num_hidden_layers, num_attention_heads, num_key_value_heads, head_dim, intermediate_size,
// max_position_embeddings, tie_word_embeddings. Everything else is left as it is in ModelSpec.
ModelSpec read_decoder(const JsonObject& config, std::string family, bool tied_by_default);

// Where a family keeps what RoPE needs outside of rope_parameters (Transformers 5) or rope_scaling
// (before), and what holds where the config is silent.
struct RopeFields {
  std::string base_field = "rope_theta";
  double base = 10000.0;
  std::string share_field = "partial_rotary_factor";  // of a head's columns that rotate
  double share = 1.0;
  std::vector<std::string_view> longrope_names =
      {};                // other names of longrope, in files older than it
  int64_t original = 0;  // positions trained on, where no field says; 0: max_position_embeddings
};
// The rope of heads of `head_width` columns. Throws Error{unsupported_model} for a type other than
// default, linear, dynamic, yarn, llama3 and longrope, naming it.
RopeSpec read_rope(const JsonObject& config, int64_t head_width, const RopeFields& fields = {});

// From the names of Llama's tensors, which most families use, to canonical ones.
const Checkpoint::Renames& llama_renames();

}  // namespace slim
