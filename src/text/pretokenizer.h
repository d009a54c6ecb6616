// Pretokenizer: cuts text into the words that BPE works on, as the ByteLevel pre-tokenizer of the
// `tokenizers` library does with the expression of GPT-2:
//   's 't 're 've 'm 'll 'd | ?letters | ?digits | ?others | spaces not before a word | spaces
#pragma once

#include <string_view>

#include "base/function_ref.h"
#include "text/pattern.h"

namespace slim {

class Pretokenizer {
 public:
  // `prefix_space`: a text that does not start with a space gets one. `split`: cut into words; else
  // the whole text is one word.
  Pretokenizer(bool prefix_space, bool split);

  const Pattern& pattern() const noexcept { return pattern_; }
  // Calls word(bytes) for all of the text in order. A byte that is not part of a UTF-8 character is
  // a word of its own. `matcher` is of pattern().
  void each_word(std::string_view text, Matcher& matcher,
                 FunctionRef<void(std::string_view)> word) const;

 private:
  bool prefix_space_;
  bool split_;
  Pattern pattern_;
};

}  // namespace slim
