// AddedTokens. Contents are sorted, so those that share a start are neighbours: the search narrows
// a range by one byte at a time, O(length x log count), and only where a content's first byte is.
#include "text/added_tokens.h"

#include <algorithm>
#include <utility>

#include "text/characters.h"
#include "text/utf8.h"

namespace slim {
namespace {

// The last character; "" if the text does not end in one.
std::string_view last_character(std::string_view text) {
  for (size_t size = 1; size <= std::min<size_t>(4, text.size()); ++size) {
    const std::string_view tail = text.substr(text.size() - size);
    const Utf8Part part = utf8_part(tail);
    if (part.kind == Utf8Kind::character && part.size == size) return tail;
  }
  return {};
}

// The first character; "" if the text does not start with one.
std::string_view first_character(std::string_view text) {
  if (text.empty()) return {};
  const Utf8Part part = utf8_part(text);
  return part.kind == Utf8Kind::character ? text.substr(0, part.size) : std::string_view();
}

bool is_space(std::string_view character) {
  return !character.empty() && is_white_space(code_point(character));
}

}  // namespace

AddedTokens::AddedTokens(std::vector<AddedToken> tokens)
    : tokens_(std::move(tokens)),
      // \w of Unicode's regular expressions (UTS 18, annex C).
      word_(R"([\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}])") {
  std::sort(tokens_.begin(), tokens_.end(),
            [](const AddedToken& a, const AddedToken& b) { return a.content < b.content; });
  for (const AddedToken& token : tokens_) starts_[static_cast<uint8_t>(token.content[0])] = true;
}

const AddedToken* AddedTokens::longest_at(std::string_view text) const {
  const AddedToken* found = nullptr;
  auto begin = tokens_.begin();
  auto end = tokens_.end();
  for (size_t depth = 0; begin != end; ++depth) {
    // All in the range share `depth` bytes, so one that has no more of them comes first.
    if (begin->content.size() == depth) found = &*begin++;
    if (depth == text.size()) break;
    const auto wanted = static_cast<uint8_t>(text[depth]);
    const auto byte = [depth](const AddedToken& token) {
      return static_cast<uint8_t>(token.content[depth]);
    };
    begin = std::partition_point(begin, end, [&](const auto& t) { return byte(t) < wanted; });
    end = std::partition_point(begin, end, [&](const auto& t) { return byte(t) == wanted; });
  }
  return found;
}

bool AddedTokens::stands_alone(std::string_view before, std::string_view after) const {
  const auto is_word = [&](std::string_view character) {
    return Matcher().find(word_, character).has_value();
  };
  return !is_word(last_character(before)) && !is_word(first_character(after));
}

void AddedTokens::split(std::string_view text, bool specials,
                        FunctionRef<void(std::string_view, const AddedToken*)> piece) const {
  size_t done = 0;  // what has been handed out
  for (size_t at = 0; at < text.size();) {
    const AddedToken* token =
        starts_[static_cast<uint8_t>(text[at])] ? longest_at(text.substr(at)) : nullptr;
    if (token == nullptr) {
      ++at;
      continue;
    }
    size_t begin = at;
    size_t end = at + token->content.size();
    at = end;
    if (token->special && !specials) continue;
    if (token->single_word && !stands_alone(text.substr(0, begin), text.substr(end))) continue;
    while (token->strip_left && begin > done) {
      const std::string_view character = last_character(text.substr(done, begin - done));
      if (!is_space(character)) break;
      begin -= character.size();
    }
    while (token->strip_right) {
      const std::string_view character = first_character(text.substr(end));
      if (!is_space(character)) break;
      end += character.size();
    }
    if (begin > done) piece(text.substr(done, begin - done), nullptr);
    piece(text.substr(begin, end - begin), token);
    done = at = end;
  }
  if (done < text.size()) piece(text.substr(done), nullptr);
}

}  // namespace slim
