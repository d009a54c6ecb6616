// Reading of sizes, and of RopeSpec from both spellings of its parameters.
#include "models/config_fields.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <optional>
#include <utility>

#include "slim/error.h"

namespace slim {
namespace {

// The parameters of RoPE: their own object if there is one, else the config itself.
class RopeReader {
 public:
  RopeReader(const JsonObject& config, const RopeFields& fields)
      : config_(config), fields_(fields) {
    for (const char* const field : {"rope_parameters", "rope_scaling"}) {
      if (!parameters_ && config.has(field)) parameters_ = config.object(field);
    }
  }

  RopeSpec read(int64_t head_width) {
    rope_.base = outer("rope_theta", fields_.base_field, fields_.base);
    const double share = outer("partial_rotary_factor", fields_.share_field, fields_.share);
    if (!(rope_.base > 0)) config_.reject(fields_.base_field, "must be above 0");
    if (!(share > 0 && share <= 1)) config_.reject(fields_.share_field, "must be in (0, 1]");
    rope_.width = static_cast<int64_t>(static_cast<double>(head_width) * share);
    rope_.scaling = scaling();
    if (rope_.scaling != RopeScaling::none) read_scaling();
    return rope_;
  }

 private:
  double outer(std::string_view inner_field, const std::string& outer_field, double fallback) {
    if (parameters_ && parameters_->has(inner_field)) return parameters_->real(inner_field);
    return read_real(config_, outer_field, fallback);
  }

  double inner(std::string_view field, double fallback) const {
    return read_real(*parameters_, field, fallback);
  }

  double positive(std::string_view field) const {
    const double value = parameters_->real(field);
    if (!(value > 0 && std::isfinite(value))) parameters_->reject(field, "must be above 0");
    return value;
  }

  RopeScaling scaling() const {
    if (!parameters_) return RopeScaling::none;
    const char* const field = parameters_->has("rope_type") ? "rope_type" : "type";
    if (!parameters_->has(field)) return RopeScaling::none;
    constexpr std::array<std::pair<std::string_view, RopeScaling>, 6> kKinds = {
        {{"default", RopeScaling::none},
         {"linear", RopeScaling::linear},
         {"dynamic", RopeScaling::dynamic},
         {"yarn", RopeScaling::yarn},
         {"llama3", RopeScaling::llama3},
         {"longrope", RopeScaling::longrope}}};
    const std::string name = parameters_->string(field);
    for (const std::string_view other : fields_.longrope_names) {
      if (name == other) return RopeScaling::longrope;
    }
    std::string known;
    for (const auto& [kind, scaling] : kKinds) {
      if (name == kind) return scaling;
      known += fmt::format("{}{}", known.empty() ? "" : ", ", kind);
    }
    throw Error(ErrorCode::unsupported_model,
                fmt::format("The rope type '{}' is not supported; there is {}.", name, known),
                config_.place());
  }

  void read_scaling() {
    const int64_t longest = config_.integer("max_position_embeddings", 1, kMostPositions);
    rope_.original = fields_.original != 0 ? fields_.original : longest;
    if (rope_.scaling != RopeScaling::linear && rope_.scaling != RopeScaling::dynamic) {
      // A field outside has priority: so does Transformers, for Phi-3.
      constexpr std::string_view field = "original_max_position_embeddings";
      const bool outside = config_.has(field);
      if (outside || parameters_->has(field)) {
        rope_.original = (outside ? config_ : *parameters_).integer(field, 1, kMostPositions);
      }
    }
    const double ratio = static_cast<double>(longest) / static_cast<double>(rope_.original);
    const bool longrope = rope_.scaling == RopeScaling::longrope;
    const bool optional = longrope || rope_.scaling == RopeScaling::yarn;
    rope_.factor = optional && !parameters_->has("factor") ? ratio : positive("factor");
    if (rope_.scaling == RopeScaling::dynamic && rope_.width < 4) {
      config_.reject("rope_parameters", "scales a rotation of two columns");
    }
    if (rope_.scaling == RopeScaling::llama3) read_llama3();
    if (rope_.scaling == RopeScaling::yarn) read_yarn();
    if (longrope) read_longrope();
  }

  void read_llama3() {
    rope_.low_frequency = positive("low_freq_factor");
    rope_.high_frequency = positive("high_freq_factor");
    if (rope_.low_frequency >= rope_.high_frequency) {
      parameters_->reject("high_freq_factor", "must be above low_freq_factor");
    }
  }

  void read_yarn() {
    const auto grown = [this](double share) {
      return rope_.factor <= 1 ? 1.0 : 0.1 * share * std::log(rope_.factor) + 1.0;
    };
    const double over = inner("mscale", 0);
    const double under = inner("mscale_all_dim", 0);
    const double usual = over != 0 && under != 0 ? grown(over) / grown(under) : grown(1);
    rope_.magnitude = inner("attention_factor", usual);
    // Zero is "not set" in the files, as it is in Python.
    if (const double fast = inner("beta_fast", 0); fast != 0) rope_.beta_fast = fast;
    if (const double slow = inner("beta_slow", 0); slow != 0) rope_.beta_slow = slow;
    rope_.truncate = read_flag(*parameters_, "truncate", true);
  }

  void read_longrope() {
    const double spread = std::log(rope_.factor) / std::log(static_cast<double>(rope_.original));
    rope_.magnitude = inner("attention_factor", rope_.factor <= 1 ? 1.0 : std::sqrt(1 + spread));
    for (const auto& [field, factors] :
         {std::pair{"short_factor", &rope_.short_factors}, {"long_factor", &rope_.long_factors}}) {
      *factors = parameters_->reals(field);
      if (std::ssize(*factors) * 2 == rope_.width) continue;
      parameters_->reject(field, fmt::format("must have {} numbers, one for each pair of columns",
                                             rope_.width / 2));
    }
  }

  const JsonObject& config_;
  const RopeFields& fields_;
  std::optional<JsonObject> parameters_;
  RopeSpec rope_;
};

}  // namespace

int64_t read_size(const JsonObject& config, std::string_view field) {
  return config.integer(field, 1, kLargestSize);
}

int64_t read_size(const JsonObject& config, std::string_view field, int64_t fallback) {
  return config.has(field) ? read_size(config, field) : fallback;
}

double read_real(const JsonObject& config, std::string_view field, double fallback) {
  if (!config.has(field)) return fallback;
  const double value = config.real(field);
  if (!std::isfinite(value)) config.reject(field, "must be finite");
  return value;
}

bool read_flag(const JsonObject& config, std::string_view field, bool fallback) {
  return config.has(field) ? config.boolean(field) : fallback;
}

void require(const JsonObject& config, std::string_view field, bool holds, std::string_view value) {
  if (!holds) config.reject(field, fmt::format("must be {}; no other value is supported", value));
}

Activation read_activation(const JsonObject& config, std::string_view field,
                           std::string_view fallback) {
  return activation_of(config, field,
                       config.has(field) ? config.string(field) : std::string(fallback));
}

Activation activation_of(const JsonObject& config, std::string_view field, std::string_view name) {
  constexpr std::array<std::pair<std::string_view, Activation>, 7> kKnown = {
      {{"gelu", Activation::gelu},
       {"gelu_new", Activation::gelu_tanh},
       {"gelu_pytorch_tanh", Activation::gelu_tanh},
       {"gelu_fast", Activation::gelu_tanh},
       {"relu", Activation::relu},
       {"silu", Activation::silu},
       {"swish", Activation::silu}}};
  for (const auto& [known, activation] : kKnown) {
    if (name == known) return activation;
  }
  config.reject(field, fmt::format("is '{}', an activation that is not supported", name));
}

RopeSpec read_rope(const JsonObject& config, int64_t head_width, const RopeFields& fields) {
  return RopeReader(config, fields).read(head_width);
}

ModelSpec read_decoder(const JsonObject& config, std::string family, bool tied_by_default) {
  ModelSpec spec;
  spec.family = std::move(family);
  spec.vocabulary = read_size(config, "vocab_size");
  spec.tied_head = read_flag(config, "tie_word_embeddings", tied_by_default);
  StackSpec& stack = spec.decoder;
  stack.layers = config.integer("num_hidden_layers", 1, kMostLayers);
  stack.width = read_size(config, "hidden_size");
  stack.heads = read_size(config, "num_attention_heads");
  stack.key_heads = read_size(config, "num_key_value_heads", stack.heads);
  stack.head_width = read_size(config, "head_dim", 0);
  stack.mlp_width = read_size(config, "intermediate_size");
  stack.positions = config.integer("max_position_embeddings", 1, kMostPositions);
  return spec;
}

const Checkpoint::Renames& llama_renames() {
  static const Checkpoint::Renames table = {{"lm_head.", "head."},
                                            {"model.embed_tokens.", "decoder.embed."},
                                            {"model.layers.", "decoder.layers."},
                                            {"model.norm.", "decoder.norm."},
                                            {".input_layernorm.", ".self.norm."},
                                            {".post_attention_layernorm.", ".mlp.norm."},
                                            {".self_attn.", ".self."},
                                            {".o_proj.", ".out."},
                                            {"_proj.", "."}};
  return table;
}

}  // namespace slim
