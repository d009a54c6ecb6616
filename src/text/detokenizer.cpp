// Detokenizer: bytes go out as soon as they are whole characters; only the start of a character is
// ever held back (at most three bytes), across special tokens too, as decode() would join it.
#include <utility>

#include "text/tokenizer.h"
#include "text/tokenizer_parts.h"
#include "text/utf8.h"

namespace slim {

Detokenizer::Detokenizer(std::shared_ptr<const Tokenizer> tokenizer, bool continues)
    : tokenizer_(std::move(tokenizer)), text_(tokenizer_->parts_->decoder, continues) {}

std::string Detokenizer::push(int32_t id) {
  const Vocabulary::Token& token = tokenizer_->parts_->vocabulary.token(id);
  if (token.special) return {};
  text_.append(token, held_);
  std::string text;
  held_.erase(0, append_valid_utf8(held_, text));
  return text;
}

std::string Detokenizer::finish() {
  // What is held is one cut part, so one replacement stands for it.
  const bool held = !held_.empty();
  held_.clear();
  return held ? std::string(kReplacement) : std::string();
}

}  // namespace slim
