// TextTokens: the ids that begin and end the text of a language model, by the files beside it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <vector>

#include "text/tokenizer.h"

namespace slim {

struct TextTokens {
  std::optional<int32_t> begin;  // what an empty prompt becomes
  bool begins = false;           // the tokenizer puts it before every text
  std::vector<int32_t> ends;     // any of them ends the text; ascending

  bool is_end(int32_t token) const;
};

// begin: the tokenizer's, or bos_token_id. ends: eos_token_id, which may be a list, of
// generation_config.json, or where that says nothing of config.json; the tokenizer's; and
// `others`. Throws Error{bad_file} for ids outside the vocabulary. Files need not exist; no
// directory: there are none.
TextTokens read_text_tokens(const std::filesystem::path& directory, int64_t vocabulary,
                            const Tokenizer& tokenizer, std::span<const int32_t> others = {});

}  // namespace slim
