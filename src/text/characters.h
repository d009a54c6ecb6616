// Single characters by code point: their UTF-8, their case, and what counts as white space. The
// tables are utf8proc's (Unicode 15 in Debian 12).
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace slim {

// The code point of one whole UTF-8 character.
char32_t code_point(std::string_view character);
void append_code_point(char32_t code, std::string& text);
// The code points of a text; each byte that is not part of a character counts as U+FFFD.
std::vector<char32_t> code_points(std::string_view text);

// Unicode's White_Space property.
bool is_white_space(char32_t code);
// What Python's str methods strip and split at: White_Space and U+001C to U+001F.
bool is_python_space(char32_t code);
bool is_letter(char32_t code);  // has a case mapping or is of a letter category

// Character by character: U+0130, whose lower case is two characters, is treated as Unicode's full
// mapping has it; other mappings are one to one.
std::string lower_case(std::string_view text);
std::string upper_case(std::string_view text);

}  // namespace slim
