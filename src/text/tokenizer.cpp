// Tokenizer: added tokens are taken out of the text first, the rest is cut into words, and each
// word is encoded by itself; equal words give equal tokens wherever they stand.
#include "text/tokenizer.h"

#include <limits>
#include <utility>

#include "slim/error.h"
#include "text/tokenizer_parts.h"

namespace slim {

Tokenizer::Tokenizer(std::unique_ptr<const Parts> parts) : parts_(std::move(parts)) {}
Tokenizer::~Tokenizer() = default;

std::vector<int32_t> Tokenizer::encode(std::string_view text, bool specials) const {
  if (text.size() >= static_cast<size_t>(std::numeric_limits<int32_t>::max())) {
    throw Error(ErrorCode::bad_request, "A text to encode must be shorter than 2 GiB.");
  }
  std::vector<int32_t> ids;
  Matcher matcher(parts_->pretokenizer.pattern());
  Bpe::Scratch scratch;
  const auto plain = [&](std::string_view piece) {
    parts_->pretokenizer.each_word(
        piece, matcher, [&](std::string_view word) { parts_->bpe.encode(word, scratch, ids); });
  };
  const auto second = [&](std::string_view piece, const AddedToken* token) {
    token == nullptr ? plain(piece) : ids.push_back(token->id);
  };
  const auto first = [&](std::string_view piece, const AddedToken* token) {
    token == nullptr ? parts_->added_after.split(piece, specials, second)
                     : ids.push_back(token->id);
  };
  parts_->added_before.split(text, specials, first);
  return ids;
}

std::string Tokenizer::decode(const std::vector<int32_t>& ids, bool specials) const {
  std::string text;
  for (const int32_t id : ids) {
    const Vocabulary::Token& token = parts_->vocabulary.token(id);
    if (specials || !token.special) text += token.bytes;
  }
  return text;
}

int32_t Tokenizer::size() const noexcept { return parts_->vocabulary.size(); }

std::optional<int32_t> Tokenizer::id(std::string_view token) const {
  return parts_->vocabulary.id(token);
}

bool Tokenizer::special(int32_t id) const { return parts_->vocabulary.token(id).special; }

std::string_view Tokenizer::bytes(int32_t id) const { return parts_->vocabulary.token(id).bytes; }

}  // namespace slim
