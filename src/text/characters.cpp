// Characters over utf8proc's property tables.
#include "text/characters.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cstdint>

#include "text/utf8.h"

namespace slim {
namespace {

constexpr char32_t kReplacementCode = 0xFFFD;
constexpr char32_t kCapitalDottedI = 0x130;  // lower case: i and U+0307
constexpr char32_t kSharpS = 0xDF;           // upper case: SS

int32_t signed_code(char32_t code) { return static_cast<int32_t>(code); }

}  // namespace

char32_t code_point(std::string_view character) {
  const auto first = static_cast<uint8_t>(character[0]);
  if (character.size() == 1) return first;
  char32_t code = first & (0x7Fu >> character.size());
  for (const char byte : character.substr(1))
    code = code << 6 | (static_cast<uint8_t>(byte) & 0x3F);
  return code;
}

void append_code_point(char32_t code, std::string& text) {
  std::array<uint8_t, 4> bytes{};
  const auto size = utf8proc_encode_char(signed_code(code), bytes.data());
  text.append(reinterpret_cast<const char*>(bytes.data()), static_cast<size_t>(size));
}

std::vector<char32_t> code_points(std::string_view text) {
  std::vector<char32_t> codes;
  codes.reserve(text.size());
  while (!text.empty()) {
    const Utf8Part part = utf8_part(text);
    const bool whole = part.kind == Utf8Kind::character;
    codes.push_back(whole ? code_point(text.substr(0, part.size)) : kReplacementCode);
    text.remove_prefix(part.size);
  }
  return codes;
}

bool is_white_space(char32_t code) {
  if (code < 0x80) return code == ' ' || (code >= '\t' && code <= '\r');
  if (code == 0x85) return true;
  const utf8proc_category_t category = utf8proc_category(signed_code(code));
  return category == UTF8PROC_CATEGORY_ZS || category == UTF8PROC_CATEGORY_ZL ||
         category == UTF8PROC_CATEGORY_ZP;
}

bool is_python_space(char32_t code) {
  return is_white_space(code) || (code >= 0x1C && code <= 0x1F);
}

bool is_letter(char32_t code) {
  const utf8proc_category_t category = utf8proc_category(signed_code(code));
  return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}

std::string lower_case(std::string_view text) {
  std::string lower;
  lower.reserve(text.size());
  for (const char32_t code : code_points(text)) {
    if (code == kCapitalDottedI) {
      lower += "i\xCC\x87";
    } else {
      append_code_point(static_cast<char32_t>(utf8proc_tolower(signed_code(code))), lower);
    }
  }
  return lower;
}

std::string upper_case(std::string_view text) {
  std::string upper;
  upper.reserve(text.size());
  for (const char32_t code : code_points(text)) {
    if (code == kSharpS) {
      upper += "SS";
    } else {
      append_code_point(static_cast<char32_t>(utf8proc_toupper(signed_code(code))), upper);
    }
  }
  return upper;
}

}  // namespace slim
