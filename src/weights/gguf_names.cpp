// llama.cpp names tensors alike in all architectures: one table serves them all.
#include <algorithm>
#include <span>
#include <utility>

#include "weights/gguf.h"

namespace slim {
namespace {

using Part = std::pair<std::string_view, std::string_view>;  // stored, canonical

// Whole names without their last part, which is "weight" or "bias".
constexpr Part kModelParts[] = {{"token_embd", "decoder.embed"},
                                {"token_embd_norm", "decoder.embed_norm"},
                                {"position_embd", "decoder.positions"},
                                {"output_norm", "decoder.norm"},
                                {"enc.output_norm", "encoder.norm"},
                                {"dec.output_norm", "decoder.norm"},
                                {"output", "head"}};

// What stands in front of a layer's number, whose sides have names of their own in T5.
constexpr Part kSides[] = {{"blk.", "decoder"}, {"enc.blk.", "encoder"}, {"dec.blk.", "decoder"}};

// What stands behind "blk.N.".
constexpr Part kLayerParts[] = {{"attn_norm", "self.norm"},
                                {"attn_q", "self.q"},
                                {"attn_k", "self.k"},
                                {"attn_v", "self.v"},
                                {"attn_qkv", "self.qkv"},
                                {"attn_output", "self.out"},
                                {"attn_o", "self.out"},
                                {"attn_q_norm", "self.q_norm"},
                                {"attn_k_norm", "self.k_norm"},
                                {"post_attention_norm", "self.post_norm"},
                                {"cross_attn_norm", "cross.norm"},
                                {"cross_attn_q", "cross.q"},
                                {"cross_attn_k", "cross.k"},
                                {"cross_attn_v", "cross.v"},
                                {"cross_attn_o", "cross.out"},
                                {"ffn_norm", "mlp.norm"},
                                {"ffn_gate", "mlp.gate"},
                                {"ffn_up", "mlp.up"},
                                {"ffn_down", "mlp.down"},
                                {"post_ffw_norm", "mlp.post_norm"}};

// In layers with two norms side by side (Falcon's 40B) the first is the MLP's.
constexpr Part kTwoNorms[] = {{"attn_norm", "mlp.norm"}, {"attn_norm_2", "self.norm"}};

// What all layers of a side share lies with the first.
constexpr Part kSharedParts[] = {{"attn_rel_b", "relative_bias"}};

// Not weights of a layer: numbers that divide the rotation's frequencies.
constexpr Part kRopeFactors[] = {{"rope_freqs.weight", "rope.factors"},
                                 {"rope_factors_long.weight", "rope.factors_long"},
                                 {"rope_factors_short.weight", "rope.factors_short"}};

std::string_view find(std::span<const Part> parts, std::string_view stored) {
  const auto at =
      std::find_if(parts.begin(), parts.end(), [&](const Part& p) { return p.first == stored; });
  return at == parts.end() ? std::string_view() : at->second;
}

}  // namespace

std::string canonical_gguf_name(std::string_view name, bool two_norms) {
  if (const auto factors = find(kRopeFactors, name); !factors.empty()) return std::string(factors);
  const size_t dot = name.rfind('.');
  if (dot == std::string_view::npos) return std::string(name);
  const std::string_view leaf = name.substr(dot);
  if (leaf != ".weight" && leaf != ".bias") return std::string(name);
  std::string_view rest = name.substr(0, dot);
  if (const auto part = find(kModelParts, rest); !part.empty()) {
    return std::string(part) + std::string(leaf);
  }
  const auto side = std::find_if(std::begin(kSides), std::end(kSides),
                                 [&](const Part& p) { return rest.starts_with(p.first); });
  if (side == std::end(kSides)) return std::string(name);
  rest.remove_prefix(side->first.size());
  const size_t digits = rest.find_first_not_of("0123456789");
  if (digits == 0 || digits == std::string_view::npos || rest[digits] != '.') {
    return std::string(name);
  }
  const std::string_view stored = rest.substr(digits + 1);
  const std::string_view number = rest.substr(0, digits);
  if (const auto shared = find(kSharedParts, stored); number == "0" && !shared.empty()) {
    return std::string(side->second) + "." + std::string(shared) + std::string(leaf);
  }
  std::string_view part = two_norms ? find(kTwoNorms, stored) : std::string_view();
  if (part.empty()) part = find(kLayerParts, stored);
  if (part.empty()) return std::string(name);
  return std::string(side->second) + ".layers." + std::string(number) + "." + std::string(part) +
         std::string(leaf);
}

}  // namespace slim
