// Ids are ranks: a byte-level tokenizer whose merges are not listed.
#include "text/ranked_tokenizer.h"

#include <utility>

#include "slim/error.h"
#include "text/byte_alphabet.h"
#include "text/byte_level_tokenizer.h"

namespace slim {

std::shared_ptr<const Tokenizer> ranked_tokenizer(std::span<const std::string_view> tokens,
                                                  std::vector<AddedToken> added,
                                                  const std::string& place) {
  ByteLevelModel model;
  model.ranked = true;
  model.tokens.reserve(tokens.size());
  for (const std::string_view bytes : tokens) {
    const auto id = static_cast<int32_t>(model.tokens.size());
    if (bytes.size() > kMaximumContent) {
      throw Error(ErrorCode::bad_file,
                  "Token " + std::to_string(id) + " has " + std::to_string(bytes.size()) +
                      " bytes, more than " + std::to_string(kMaximumContent) + ".",
                  place);
    }
    std::string content;
    for (const char byte : bytes) content += byte_symbol(static_cast<uint8_t>(byte));
    model.tokens.emplace_back(std::move(content), id);
  }
  model.added = std::move(added);
  std::vector<Pretokenizer::Step> steps;
  steps.emplace_back(byte_level_split());
  model.pretokenizer = Pretokenizer(std::move(steps));
  return std::make_shared<const Tokenizer>(make_byte_level_tokenizer(std::move(model), place));
}

}  // namespace slim
