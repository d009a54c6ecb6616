// The fields that a family's read_config asks for. Written by hand: numbers, and names from closed
// lists, which need no escapes.
#include "models/config_writer.h"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/check.h"
#include "models/family.h"

namespace slim {
namespace {

std::string stack_fields(const char* side, const StackSpec& stack) {
  return fmt::format(
      "  \"{0}_layers\": {1},\n  \"{0}_attention_heads\": {2},\n  \"{0}_ffn_dim\": {3},\n", side,
      stack.layers, stack.heads, stack.mlp_width);
}

}  // namespace

std::string write_config(const ModelSpec& spec) {
  const auto all = families();
  const auto family = std::find_if(all.begin(), all.end(),
                                   [&](const Family& one) { return one.name == spec.family; });
  check(family != all.end() && spec.hears(), "a speech model of a known family");
  std::string text = fmt::format(
      "{{\n  \"architectures\": [\"{}\"],\n  \"model_type\": \"{}\",\n"
      "  \"is_encoder_decoder\": true,\n  \"activation_function\": \"gelu\",\n"
      "  \"scale_embedding\": false,\n",
      family->architectures.front(), family->name);
  text += fmt::format(
      "  \"vocab_size\": {},\n  \"num_mel_bins\": {},\n  \"d_model\": {},\n"
      "  \"max_source_positions\": {},\n  \"max_target_positions\": {},\n",
      spec.vocabulary, spec.mel_bins, spec.decoder.width, spec.encoder.positions,
      spec.decoder.positions);
  text += stack_fields("encoder", spec.encoder) + stack_fields("decoder", spec.decoder);
  return text + fmt::format("  \"alignment_heads\": {}\n}}\n", spec.alignment_heads);
}

}  // namespace slim
