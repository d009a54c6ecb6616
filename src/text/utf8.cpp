// UTF-8 parts by Table 3-7 of the Unicode Standard: the first byte decides how many follow and how
// far the second may range (which rules out overlong forms, surrogates and values past U+10FFFF).
#include "text/utf8.h"

#include <cstdint>

#include "text/tokenizer.h"

namespace slim {
namespace {

struct Lead {
  size_t size;        // of the whole character; 0: no character starts like this
  uint8_t low, high;  // of the second byte
};

Lead lead_of(uint8_t first) {
  if (first < 0x80) return {1, 0, 0};
  if (first < 0xC2 || first > 0xF4) return {0, 0, 0};
  if (first < 0xE0) return {2, 0x80, 0xBF};
  if (first < 0xF0) {
    return {3, static_cast<uint8_t>(first == 0xE0 ? 0xA0 : 0x80),
            static_cast<uint8_t>(first == 0xED ? 0x9F : 0xBF)};
  }
  return {4, static_cast<uint8_t>(first == 0xF0 ? 0x90 : 0x80),
          static_cast<uint8_t>(first == 0xF4 ? 0x8F : 0xBF)};
}

}  // namespace

Utf8Part utf8_part(std::string_view bytes) {
  const Lead lead = lead_of(static_cast<uint8_t>(bytes[0]));
  if (lead.size == 0) return {1, Utf8Kind::ill_formed};
  for (size_t i = 1; i < lead.size; ++i) {
    if (i == bytes.size()) return {i, Utf8Kind::cut};
    const auto byte = static_cast<uint8_t>(bytes[i]);
    const uint8_t low = i == 1 ? lead.low : 0x80;
    const uint8_t high = i == 1 ? lead.high : 0xBF;
    if (byte < low || byte > high) return {i, Utf8Kind::ill_formed};
  }
  return {lead.size, Utf8Kind::character};
}

size_t utf8_prefix(std::string_view bytes) {
  size_t used = 0;
  while (used < bytes.size()) {
    const Utf8Part part = utf8_part(bytes.substr(used));
    if (part.kind != Utf8Kind::character) break;
    used += part.size;
  }
  return used;
}

size_t append_valid_utf8(std::string_view bytes, std::string& text) {
  size_t used = 0;
  while (true) {
    const size_t whole = utf8_prefix(bytes.substr(used));
    text += bytes.substr(used, whole);
    used += whole;
    if (used == bytes.size()) return used;
    const Utf8Part part = utf8_part(bytes.substr(used));
    if (part.kind == Utf8Kind::cut) return used;
    text += kReplacement;
    used += part.size;
  }
}

std::string valid_utf8(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size());
  if (append_valid_utf8(bytes, text) < bytes.size()) text += kReplacement;
  return text;
}

}  // namespace slim
