// All of the alphabet lies below U+0144, so it is at most two bytes of UTF-8 a character.
#include "text/byte_alphabet.h"

#include <array>

#include "text/utf8.h"

namespace slim {
namespace {

constexpr int kLimit = 0x100 + 68;  // one above the last character

struct Alphabet {
  std::array<int16_t, 256> character{};  // of a byte
  std::array<int16_t, kLimit> byte{};    // of a character; -1: none
};

constexpr Alphabet make_alphabet() {
  Alphabet alphabet;
  for (int16_t& byte : alphabet.byte) byte = -1;
  int16_t next = 0x100;
  for (int16_t byte = 0; byte < 256; ++byte) {
    const bool visible =
        (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    const int16_t character = visible ? byte : next++;
    alphabet.character[static_cast<size_t>(byte)] = character;
    alphabet.byte[static_cast<size_t>(character)] = byte;
  }
  return alphabet;
}

constexpr Alphabet kAlphabet = make_alphabet();

// The byte that one UTF-8 character writes; -1 if none.
int byte_of(std::string_view character) {
  if (character.size() > 2) return -1;
  const auto first = static_cast<uint8_t>(character[0]);
  const int code = character.size() == 1
                       ? first
                       : (first & 0x1F) << 6 | (static_cast<uint8_t>(character[1]) & 0x3F);
  return code < kLimit ? kAlphabet.byte[static_cast<size_t>(code)] : -1;
}

}  // namespace

std::string byte_symbol(uint8_t byte) {
  const int code = kAlphabet.character[byte];
  if (code < 0x80) return {static_cast<char>(code)};
  return {static_cast<char>(0xC0 | code >> 6), static_cast<char>(0x80 | (code & 0x3F))};
}

std::string alphabet_bytes(std::string_view content) {
  std::string bytes;
  for (size_t at = 0; at < content.size();) {
    const Utf8Part part = utf8_part(content.substr(at));
    const int byte = part.kind == Utf8Kind::character ? byte_of(content.substr(at, part.size)) : -1;
    if (byte < 0) return std::string(content);
    bytes += static_cast<char>(byte);
    at += part.size;
  }
  return bytes;
}

}  // namespace slim
