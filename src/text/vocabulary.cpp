// Vocabulary: an array by id and a hash map by content.
#include "text/vocabulary.h"

#include <utility>

#include "slim/error.h"

namespace slim {

bool Vocabulary::add(int32_t id, std::string_view content, Token token) {
  const auto at = static_cast<size_t>(id);
  if (at < tokens_.size() && tokens_[at].known) return false;
  const auto [entry, fresh] = ids_.emplace(content, id);
  if (!fresh) return false;
  if (at >= tokens_.size()) tokens_.resize(at + 1);
  token.known = true;
  token.content = entry->first;
  tokens_[at] = std::move(token);
  return true;
}

std::optional<int32_t> Vocabulary::id(std::string_view content) const {
  const auto found = ids_.find(content);
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

std::optional<int32_t> Vocabulary::model_id(std::string_view content) const {
  const auto found = id(content);
  return found && tokens_[static_cast<size_t>(*found)].model ? found : std::nullopt;
}

const Vocabulary::Token& Vocabulary::token(int32_t id) const {
  if (!has(id)) {
    throw Error(ErrorCode::bad_request, "The tokenizer has no token " + std::to_string(id) +
                                            "; its ids are below " + std::to_string(size()) + ".");
  }
  return tokens_[static_cast<size_t>(id)];
}

}  // namespace slim
