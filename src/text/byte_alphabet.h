// The alphabet in which byte-level BPE files write bytes: every byte has a visible character. Bytes
// that are visible in Latin-1 (0x21-0x7E, 0xA1-0xAC, 0xAE-0xFF) stand for themselves; the other 68
// are written U+0100, U+0101, ... in order, so a space is U+0120.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace slim {

// The character that writes `byte`, as UTF-8.
std::string byte_symbol(uint8_t byte);

// The bytes that a token's content in a file stands for. Content with any character outside the
// alphabet stands for itself, as the `tokenizers` library has it.
std::string alphabet_bytes(std::string_view content);

}  // namespace slim
