// UTF-8 read one part at a time. A part is a character, or a maximal ill-formed subpart (Unicode
// 15, section 3.9, D93b): the longest start of a character that what follows does not continue, or
// one byte if no character starts with it.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace slim {

enum class Utf8Kind {
  character,
  ill_formed,
  cut,  // the bytes end here; more of them could still make it a character
};

struct Utf8Part {
  size_t size;  // bytes; at least 1
  Utf8Kind kind;
};

// The part at the start of `bytes`, which must not be empty.
Utf8Part utf8_part(std::string_view bytes);

// How many bytes at the start of `bytes` are whole characters.
size_t utf8_prefix(std::string_view bytes);

// Appends `bytes` to `text` with U+FFFD for each ill-formed part; stops at a part that is cut.
// Returns the number of bytes used.
size_t append_valid_utf8(std::string_view bytes, std::string& text);

// U+FFFD.
inline constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

}  // namespace slim
