// TextStream: from the tokens of a sample to the text that is handed on: whole characters only, and
// nothing that might still turn out to be the start of a stop string.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace slim {

class TextStream {
 public:
  // Stop strings must be valid UTF-8 and not empty: Error{bad_request}. `continues`: as for
  // Detokenizer.
  TextStream(std::shared_ptr<const Tokenizer> tokenizer, std::span<const std::string> stops,
             bool continues = true);

  // The text that became certain with this token. After a stop string nothing does.
  std::string push(int32_t token);
  // What was held back, at the end: cut characters as U+FFFD.
  std::string finish();

  // The stop string that has been met, or "". Of several, the one that was complete first, and of
  // those the longest: so it does not matter how the text was cut into tokens.
  const std::string& stop() const noexcept { return stop_; }
  // All text so far.
  const std::string& text() const noexcept { return text_; }

 private:
  std::string release(std::string piece);

  Detokenizer detokenizer_;
  std::vector<std::string> stops_;
  std::string held_;
  std::string stop_;
  std::string text_;
};

}  // namespace slim
