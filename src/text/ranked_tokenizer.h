// A Tokenizer over bytes from a list of tokens alone, as tiktoken has them: any two neighbours
// whose joint bytes are a token may merge, the token of the lowest id first, in the words of GPT-2.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/added_tokens.h"
#include "text/tokenizer.h"

namespace slim {

// `tokens`: bytes, by id. Throws Error{bad_file} with `place` for what is malformed or repeated.
std::shared_ptr<const Tokenizer> ranked_tokenizer(std::span<const std::string_view> tokens,
                                                  std::vector<AddedToken> added,
                                                  const std::string& place);

// The same as Hugging Face's tokenizer.json, with every pair that may merge listed: by the rank of
// what it becomes, as Transformers' own converters list them. Throws likewise.
std::string ranked_tokenizer_json(std::span<const std::string_view> tokens,
                                  std::span<const AddedToken> added, const std::string& place);

}  // namespace slim
