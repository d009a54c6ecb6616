// TokenDecoder: from tokens to text. What each token is as bytes is worked out once, when the
// vocabulary is read; what depends on where it stands is left for reading: the first token may
// lose the spaces that encoding put in front of it.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/vocabulary.h"

namespace slim {

struct TokenDecoder {
  bool byte_level = false;     // contents are in the alphabet of byte-level BPE
  bool byte_fallback = false;  // "<0x0A>" is a byte
  std::vector<std::pair<std::string, std::string>> replacements;  // of parts of contents
  bool first_without_spaces = false;  // the first token loses all of its spaces
  char strip = ' ';                   // the text loses up to `strip_count` of these at its start
  int strip_count = 0;

  // What a content stands for in the midst of text. Added tokens are not in the byte alphabet.
  std::string bytes(std::string_view content, bool added) const;

  // One text on its way: append() its tokens in order.
  class Text {
   public:
    // `continues`: other text stands before it, so nothing is stripped.
    Text(const TokenDecoder& decoder, bool continues);
    void append(const Vocabulary::Token& token, std::string& text);

   private:
    bool first_;
    char strip_;
    int left_;  // how many more to strip
  };
};

}  // namespace slim
