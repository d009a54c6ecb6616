// Python's methods of strings, for chat templates. Texts are UTF-8; positions are characters.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace slim {

// Takes away characters of `set` (white space if there is none) at the sides that are asked for.
std::string strip_text(std::string_view text, const std::optional<std::string>& set, bool left,
                       bool right);
// Cut at `separator`, or at runs of white space if there is none; at most `limit` cuts, -1: all.
std::vector<std::string> split_text(std::string_view text,
                                    const std::optional<std::string>& separator, int64_t limit);
// `from` must not be empty; at most `limit` times, -1: all.
std::string replace_text(std::string_view text, std::string_view from, std::string_view to,
                         int64_t limit);
std::string capitalized(std::string_view text);
// A capital after everything that is no letter (str.title()) or, `words`, after white space and
// opening brackets and hyphens (Jinja's filter).
std::string title_case(std::string_view text, bool words);
// Each character by itself.
std::vector<std::string> characters_of(std::string_view text);
size_t character_count(std::string_view text);

}  // namespace slim
