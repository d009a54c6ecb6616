// The tokenizers of encoder-decoder models that tools/make_golden_numbered_pieces.py made with
// sentencepiece and Transformers, with texts and what these give of them.
#pragma once

#include <zlib.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "temporary_folder.h"

namespace slim {

inline const nlohmann::json& numbered_pieces() {
  static const nlohmann::json golden = [] {
    const std::filesystem::path path =
        std::filesystem::path(SLIM_TEST_DATA) / "golden" / "text" / "numbered_pieces.json.z";
    std::ifstream file(path, std::ios::binary);
    const std::string packed{std::istreambuf_iterator<char>(file), {}};
    std::string text(size_t{16} << 20, '\0');
    uLongf size = text.size();
    if (uncompress(reinterpret_cast<Bytef*>(text.data()), &size,
                   reinterpret_cast<const Bytef*>(packed.data()), packed.size()) != Z_OK) {
      throw std::runtime_error("cannot read " + path.string());
    }
    return nlohmann::json::parse(text.substr(0, size));
  }();
  return golden;
}

inline std::string from_base64(std::string_view text) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string bytes;
  uint32_t bits = 0;
  int held = 0;
  for (const char c : text.substr(0, text.find('='))) {
    bits = bits << 6 | static_cast<uint32_t>(kDigits.find(c));
    held += 6;
    if (held < 8) continue;
    held -= 8;
    bytes += static_cast<char>(bits >> held & 0xFF);
  }
  return bytes;
}

// Writes one tokenizer's files.
inline void write_files(const nlohmann::json& tokenizer, const TemporaryFolder& folder) {
  for (const auto& [name, content] : tokenizer["files"].items()) {
    folder.write(name, from_base64(content.get<std::string>()));
  }
}

}  // namespace slim
