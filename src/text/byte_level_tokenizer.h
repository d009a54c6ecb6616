// A Tokenizer over bytes from a list of tokens and a list of merges: GPT-2's vocab.json with
// merges.txt, and GGUF's "gpt2" vocabularies. Or from tokens alone (text/ranked_tokenizer.h).
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "text/tokenizer_parts.h"

namespace slim {

struct ByteLevelModel {
  std::vector<std::pair<std::string, int32_t>>
      tokens;                                    // contents in the alphabet of bytes, and ids
  std::vector<std::vector<std::string>> merges;  // ["a b"], in order
  std::vector<AddedToken> added;                 // may be among the tokens
  Normalizer normalizer;
  Pretokenizer pretokenizer;
  bool ignore_merges = false;
  bool ranked = false;  // no merges are listed: whatever makes a token merges, low ids first
};

// Throws Error{bad_file} with `place` for what is malformed or repeated, Error{unsupported_model}
// if a byte has no token.
std::unique_ptr<Tokenizer::Parts> make_byte_level_tokenizer(ByteLevelModel model,
                                                            const std::string& place);

}  // namespace slim
