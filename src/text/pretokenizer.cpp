// Pretokenizer. Every character is a space, a letter, a digit or other, so the expression matches
// at any position and words follow each other without gaps.
#include "text/pretokenizer.h"

#include <string>

#include "base/check.h"
#include "text/utf8.h"

namespace slim {
namespace {

std::string word_expression() {
  const std::string space = "[" + white_space() + "]";
  const std::string solid = "[^" + white_space() + "]";
  return R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^)" + white_space() + R"(\p{L}\p{N}]+|)" +
         space + "+(?!" + solid + ")|" + space + "+";
}

}  // namespace

Pretokenizer::Pretokenizer(bool prefix_space, bool split)
    : prefix_space_(prefix_space), split_(split), pattern_(word_expression()) {}

void Pretokenizer::each_word(std::string_view text, Matcher& matcher,
                             FunctionRef<void(std::string_view)> word) const {
  std::string prefixed;
  if (prefix_space_ && !text.starts_with(' ')) {
    prefixed = ' ';
    prefixed += text;
    text = prefixed;
  }
  while (!text.empty()) {
    std::string_view whole = text.substr(0, utf8_prefix(text));
    text.remove_prefix(whole.size());
    while (!whole.empty()) {
      const size_t size = split_ ? matcher.match(whole) : whole.size();
      check(size > 0, "every text starts with a word");
      word(whole.substr(0, size));
      whole.remove_prefix(size);
    }
    if (text.empty()) break;
    word(text.substr(0, 1));
    text.remove_prefix(1);
  }
}

}  // namespace slim
