// TokenDecoder.
#include "text/token_decoder.h"

#include <algorithm>

#include "text/bpe_model.h"
#include "text/byte_alphabet.h"

namespace slim {

std::string TokenDecoder::bytes(std::string_view content, bool added) const {
  if (byte_level) return added ? std::string(content) : alphabet_bytes(content);
  std::string text(content);
  for (const auto& [from, to] : replacements) {
    for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at)) {
      text.replace(at, from.size(), to);
      at += to.size();
    }
  }
  const int byte = byte_fallback ? byte_of_token(text) : -1;
  return byte < 0 ? text : std::string(1, static_cast<char>(byte));
}

TokenDecoder::Text::Text(const TokenDecoder& decoder, bool continues)
    : first_(decoder.first_without_spaces && !continues),
      strip_(decoder.strip),
      left_(continues ? 0 : decoder.strip_count) {}

void TokenDecoder::Text::append(const Vocabulary::Token& token, std::string& text) {
  if (first_ && !token.added) {
    std::copy_if(token.bytes.begin(), token.bytes.end(), std::back_inserter(text),
                 [](char c) { return c != ' '; });
    first_ = false;
    return;
  }
  first_ = false;
  std::string_view bytes = token.bytes;
  while (left_ > 0 && !bytes.empty()) {
    if (bytes[0] == strip_) {
      bytes.remove_prefix(1);
      --left_;
    } else {
      left_ = 0;
    }
  }
  text += bytes;
}

}  // namespace slim
