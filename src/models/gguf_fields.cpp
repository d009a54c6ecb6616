// Reading of sizes, of what tensors show, and of RopeSpec from GGUF's spelling of its parameters.
#include "models/gguf_fields.h"

#include <fmt/format.h>

#include <cmath>
#include <utility>

#include "slim/error.h"

namespace slim {
namespace {

// The tokens that are listed; without a list, their number alone is given.
int64_t read_vocabulary(const GgufFields& fields) {
  constexpr std::string_view list = "tokenizer.ggml.tokens";
  const bool listed = fields.metadata().has(list);
  const int64_t count =
      listed ? std::ssize(fields.metadata().strings(list)) : fields.size("vocab_size");
  const int64_t rows = fields.tensors().get("decoder.embed.weight", {-1, -1}).size(0);
  if (count == rows) return rows;
  const std::string why = fmt::format("counts {} tokens, but the embedding has {}", count, rows);
  if (listed) fields.metadata().reject(list, why);
  fields.reject("vocab_size", why);
}

void refuse_unknown(const GgufFields& fields) {
  if (fields.has("expert_count") && fields.integer("expert_count", 0, INT32_MAX) > 0) {
    fields.reject("expert_count", "is above 0: models with experts are not supported");
  }
  if (!fields.flag("attention.causal", true)) {
    fields.reject("attention.causal", "must be true; no other value is supported");
  }
  if (fields.has("attention.sliding_window_pattern")) {
    fields.reject("attention.sliding_window_pattern",
                  "gives windows to some layers, which is not supported");
  }
}

void read_sizes(const GgufFields& fields, StackSpec& stack) {
  stack.layers = fields.integer("block_count", 1, kMostLayers);
  stack.width = fields.size("embedding_length");
  stack.heads = fields.size("attention.head_count");
  stack.key_heads = fields.size("attention.head_count_kv", stack.heads);
  stack.head_width = fields.size("attention.key_length", 0);
  if (fields.has("attention.value_length") &&
      fields.size("attention.value_length") != stack.width_of_head()) {
    fields.reject("attention.value_length",
                  fmt::format("must be {}, as wide as keys", stack.width_of_head()));
  }
  stack.mlp_width = fields.size("feed_forward_length");
  stack.positions = fields.integer("context_length", 1, kMostPositions);
  if (fields.has("attention.sliding_window")) {
    const int64_t window = fields.integer("attention.sliding_window", 0, kMostPositions);
    if (window > 0) stack.windows.assign(static_cast<size_t>(stack.layers), window);
  }
  if (fields.has("attention.clamp_kqv")) {
    stack.clip = static_cast<float>(fields.real("attention.clamp_kqv"));
    if (stack.clip < 0.0F) fields.reject("attention.clamp_kqv", "must not be negative");
  }
}

// One number for each pair of columns.
std::vector<double> read_factors(const GgufFields& fields, const char* name, int64_t width) {
  const Tensor& stored = fields.tensors().get(name, {width / 2});
  if (stored.type() != DType::f32) {
    throw Error(ErrorCode::bad_file, fmt::format("The tensor '{}' must be f32.", name),
                fields.metadata().place());
  }
  const float* const values = stored.values<float>();
  for (int64_t i = 0; i < stored.elements(); ++i) {
    if (values[i] > 0 && std::isfinite(values[i])) continue;
    throw Error(ErrorCode::bad_file, fmt::format("The tensor '{}' holds {}.", name, values[i]),
                fields.metadata().place());
  }
  return {values, values + stored.elements()};
}

constexpr std::string_view kType = "rope.scaling.type";
constexpr std::string_view kFactor = "rope.scaling.factor";
constexpr const char* kFactors = "rope.factors";
constexpr const char* kShort = "rope.factors_short";
constexpr const char* kLong = "rope.factors_long";

RopeScaling read_scaling(const GgufFields& fields) {
  const bool two = fields.tensors().has(kShort) || fields.tensors().has(kLong);
  // A file that says nothing is longrope if it has two sets of factors (Phi-3), else linear by its
  // factor, if it has one.
  const std::string_view usual = two ? "longrope" : fields.has(kFactor) ? "linear" : "none";
  const std::string name = fields.string(kType, usual);
  if (two != (name == "longrope")) {
    fields.reject(kType, fmt::format("is '{}', but there are {}rope_factors_short and _long", name,
                                     two ? "" : "no "));
  }
  if (name == "none") return RopeScaling::none;
  if (name == "linear") return RopeScaling::linear;
  if (name == "yarn") return RopeScaling::yarn;
  if (name == "longrope") return RopeScaling::longrope;
  throw Error(ErrorCode::unsupported_model,
              fmt::format("The rope type '{}' is not supported; there is none, linear, yarn, "
                          "longrope.",
                          name),
              fields.metadata().place() + ", key '" + std::string(kType) + "'");
}

void read_yarn(const GgufFields& fields, RopeSpec& rope) {
  for (const auto& [key, value] : {std::pair{"rope.scaling.yarn_ext_factor", 1.0},
                                   {"rope.scaling.yarn_log_multiplier", 0.0}}) {
    if (!fields.has(key) || fields.real(key) == value) continue;
    fields.reject(key, fmt::format("must be {}; no other value is supported", value));
  }
  const double usual = rope.factor <= 1 ? 1.0 : 0.1 * std::log(rope.factor) + 1.0;
  rope.magnitude *= fields.positive("rope.scaling.yarn_attn_factor", usual);
  rope.beta_fast = fields.positive("rope.scaling.yarn_beta_fast", rope.beta_fast);
  rope.beta_slow = fields.positive("rope.scaling.yarn_beta_slow", rope.beta_slow);
}

}  // namespace

int64_t GgufFields::integer(std::string_view key, int64_t low, int64_t high) const {
  return metadata().integer(full(key), low, high);
}

int64_t GgufFields::size(std::string_view key) const { return integer(key, 1, kLargestSize); }

int64_t GgufFields::size(std::string_view key, int64_t fallback) const {
  return has(key) ? size(key) : fallback;
}

double GgufFields::real(std::string_view key) const { return metadata().real(full(key)); }

double GgufFields::positive(std::string_view key) const {
  const double value = real(key);
  if (!(value > 0)) reject(key, "must be above 0");
  return value;
}

double GgufFields::positive(std::string_view key, double fallback) const {
  return has(key) ? positive(key) : fallback;
}

bool GgufFields::flag(std::string_view key, bool fallback) const {
  return has(key) ? metadata().boolean(full(key)) : fallback;
}

std::string GgufFields::string(std::string_view key, std::string_view fallback) const {
  return std::string(has(key) ? metadata().string(full(key)) : fallback);
}

void GgufFields::reject(std::string_view key, std::string_view why) const {
  metadata().reject(full(key), why);
}

ModelSpec read_decoder(const GgufFields& fields, std::string family, const NormSpec& norm) {
  refuse_unknown(fields);
  const auto stored = [&](const std::string& name) { return fields.tensors().has(name); };
  const std::string layer = "decoder.layers.0.";
  ModelSpec spec;
  spec.family = std::move(family);
  spec.vocabulary = read_vocabulary(fields);
  spec.tied_head = !stored("head.weight");
  spec.head_bias = stored("head.bias");
  StackSpec& stack = spec.decoder;
  read_sizes(fields, stack);
  stack.norm = norm;
  stack.norm.epsilon = static_cast<float>(fields.positive(norm.kind == NormKind::rms
                                                              ? "attention.layer_norm_rms_epsilon"
                                                              : "attention.layer_norm_epsilon"));
  const bool packed = stored(layer + "self.qkv.weight");
  stack.packing = packed ? Packing::stacked : Packing::separate;
  stack.qkv_bias = stored(layer + (packed ? "self.qkv.bias" : "self.q.bias"));
  stack.out_bias = stored(layer + "self.out.bias");
  stack.gated = stored(layer + "mlp.gate.weight");
  stack.mlp_bias = stored(layer + "mlp.up.bias");
  return spec;
}

RopeSpec read_rope(const GgufFields& fields, const StackSpec& stack) {
  RopeSpec rope;
  rope.width = fields.size("rope.dimension_count", stack.width_of_head());
  rope.base = fields.positive("rope.freq_base", rope.base);
  rope.original = stack.positions;
  if (constexpr auto key = "rope.scaling.original_context_length"; fields.has(key)) {
    rope.original = fields.integer(key, 1, kMostPositions);
  }
  rope.magnitude = fields.positive("rope.scaling.attn_factor", 1.0);
  rope.scaling = read_scaling(fields);
  if (rope.scaling == RopeScaling::linear || rope.scaling == RopeScaling::yarn) {
    rope.factor = fields.positive(kFactor);
  }
  if (rope.scaling == RopeScaling::yarn) read_yarn(fields, rope);
  if (rope.scaling == RopeScaling::longrope) {
    rope.short_factors = read_factors(fields, kShort, rope.width);
    rope.long_factors = read_factors(fields, kLong, rope.width);
  }
  if (fields.tensors().has(kFactors)) {
    if (rope.scaling != RopeScaling::none && rope.scaling != RopeScaling::linear) {
      fields.reject(kType, "must be none or linear beside rope_freqs");
    }
    rope.divisors = read_factors(fields, kFactors, rope.width);
  }
  return rope;
}

}  // namespace slim
