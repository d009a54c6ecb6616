// Python's methods of strings.
#include "text/template_strings.h"

#include <algorithm>

#include "text/characters.h"
#include "text/utf8.h"

namespace slim {

std::vector<std::string> characters_of(std::string_view text) {
  std::vector<std::string> out;
  while (!text.empty()) {
    const size_t size = utf8_part(text).size;
    out.emplace_back(text.substr(0, size));
    text.remove_prefix(size);
  }
  return out;
}

size_t character_count(std::string_view text) { return code_points(text).size(); }

std::string strip_text(std::string_view text, const std::optional<std::string>& set, bool left,
                       bool right) {
  const auto characters = characters_of(text);
  const auto strips = [&](const std::string& character) {
    const Utf8Part part = utf8_part(character);
    if (part.kind != Utf8Kind::character) return false;
    return set ? set->find(character) != std::string::npos : is_python_space(code_point(character));
  };
  size_t begin = 0;
  size_t end = characters.size();
  while (left && begin < end && strips(characters[begin])) ++begin;
  while (right && end > begin && strips(characters[end - 1])) --end;
  std::string out;
  for (size_t i = begin; i < end; ++i) out += characters[i];
  return out;
}

namespace {

std::vector<std::string> split_at_spaces(std::string_view text, int64_t limit) {
  std::vector<std::string> parts;
  bool open = false;
  const auto characters = characters_of(text);
  for (size_t i = 0; i < characters.size(); ++i) {
    const bool space = is_python_space(code_points(characters[i])[0]);
    if (space) {
      open = false;
      continue;
    }
    if (!open && limit >= 0 && parts.size() == static_cast<size_t>(limit)) {
      std::string rest;
      for (size_t j = i; j < characters.size(); ++j) rest += characters[j];
      parts.push_back(std::move(rest));
      return parts;
    }
    if (!open) parts.emplace_back();
    open = true;
    parts.back() += characters[i];
  }
  return parts;
}

}  // namespace

std::vector<std::string> split_text(std::string_view text,
                                    const std::optional<std::string>& separator, int64_t limit) {
  if (!separator) return split_at_spaces(text, limit);
  std::vector<std::string> parts;
  while (limit != 0) {
    const size_t at = text.find(*separator);
    if (at == std::string_view::npos) break;
    parts.emplace_back(text.substr(0, at));
    text.remove_prefix(at + separator->size());
    if (limit > 0) --limit;
  }
  parts.emplace_back(text);
  return parts;
}

std::string replace_text(std::string_view text, std::string_view from, std::string_view to,
                         int64_t limit) {
  std::string out;
  while (limit != 0) {
    const size_t at = text.find(from);
    if (at == std::string_view::npos) break;
    out += text.substr(0, at);
    out += to;
    text.remove_prefix(at + from.size());
    if (limit > 0) --limit;
  }
  return out += text;
}

std::string capitalized(std::string_view text) {
  if (text.empty()) return {};
  const size_t first = utf8_part(text).size;
  return upper_case(text.substr(0, first)) + lower_case(text.substr(first));
}

std::string title_case(std::string_view text, bool words) {
  constexpr std::string_view kOpeners = "-({[<";
  std::string out;
  bool start = true;
  for (const std::string& character : characters_of(text)) {
    const char32_t code = code_points(character)[0];
    const bool opens = is_python_space(code) ||
                       (code < 0x80 && kOpeners.find(static_cast<char>(code)) != std::string::npos);
    out += start ? upper_case(character) : lower_case(character);
    start = words ? opens : !is_letter(code);
  }
  return out;
}

}  // namespace slim
