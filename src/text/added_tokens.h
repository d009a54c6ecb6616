// AddedTokens: the tokens that are found in text as they are, before any cutting into words. The
// leftmost match wins, and the longest of those; matches do not overlap.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/function_ref.h"
#include "text/pattern.h"

namespace slim {

struct AddedToken {
  std::string content;
  int32_t id = 0;
  bool special = false;
  bool single_word = false;  // only where no word character touches it
  bool strip_left = false;   // takes the white space before it ...
  bool strip_right = false;  // ... and after it
};

class AddedTokens {
 public:
  // Contents are not empty and differ from each other.
  explicit AddedTokens(std::vector<AddedToken> tokens);

  // Calls piece(text, token) in order over all of `text`; `token` is null for the text between. A
  // special token counts only if `specials`; else what it matched is passed over as plain text.
  void split(std::string_view text, bool specials,
             FunctionRef<void(std::string_view, const AddedToken*)> piece) const;

 private:
  const AddedToken* longest_at(std::string_view text) const;
  bool stands_alone(std::string_view before, std::string_view after) const;

  std::vector<AddedToken> tokens_;     // by content
  std::array<bool, 256> starts_ = {};  // bytes that some content starts with
  Pattern word_;
};

}  // namespace slim
