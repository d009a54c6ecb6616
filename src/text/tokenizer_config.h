// TokenizerConfig: what stands beside a tokenizer in a model's folder: tokenizer_config.json with
// the names of its special tokens, and the chat template, which may have a file of its own.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "text/tokenizer_parts.h"

namespace slim {

struct TokenizerConfig {
  std::optional<std::string> bos;
  std::optional<std::string> eos;
  std::vector<std::string> specials;    // bos, eos and the other special tokens that are named
  std::vector<std::string> additional;  // special tokens without a part of their own: languages
  std::optional<std::string> mask;
  std::optional<std::string> sentence_mask;
  std::optional<int32_t> extra_ids;  // how many numbered tokens stand after the pieces
  std::optional<int32_t> offset;     // of the pieces' ids
  std::string language_codes;        // which list of languages, by name
  bool separate = false;             // source and target have vocabularies of their own
  std::optional<bool> add_bos;       // given: the template is these, whatever the tokenizer says
  std::optional<bool> add_eos;
  std::optional<bool> legacy;  // sentencepiece: a space after special tokens too
  bool prefix_space = false;   // byte level: a space in front of a text
  std::vector<AddedToken> added;
  std::optional<std::string> chat_template;

  // Reads what there is of tokenizer_config.json, special_tokens_map.json, added_tokens.json,
  // chat_template.jinja and chat_template.json. Throws Error{bad_file} naming file and field.
  static TokenizerConfig read(const std::filesystem::path& folder);

  // Sets the special tokens, the template and the chat template of a tokenizer.
  void apply(Tokenizer::Parts& parts) const;
};

}  // namespace slim
