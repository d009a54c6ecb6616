// The reader of tokenizer.json, apart from the file it lies in.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "text/tokenizer.h"
#include "text/tokenizer_parts.h"

namespace slim {

// Tokenizer::load for text in memory; `place` stands for the file in messages.
std::shared_ptr<const Tokenizer> parse_tokenizer(std::string_view json, const std::string& place);
// The same, for a caller that has more to add.
std::unique_ptr<Tokenizer::Parts> parse_tokenizer_parts(std::string_view json,
                                                        const std::string& place);

}  // namespace slim
