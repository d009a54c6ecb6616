// BpeModel: the tokens of one word. Two alphabets: bytes, where any text can be written, and
// characters, where one that is no token falls back to its bytes' tokens (<0x0A>) or to the unknown
// token.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/bpe.h"
#include "text/vocabulary.h"
#include "text/word_model.h"

namespace slim {

class BpeModel final : public WordModel {
 public:
  struct Settings {
    bool byte_level = false;
    bool byte_fallback = false;  // where characters have no token
    bool fuse_unknown = false;   // unknown characters in a row are one token
    bool ignore_merges = false;  // a word that is a token is that token
    std::optional<int32_t> unknown;
  };

  // Throws Error{unsupported_model} with `place` if there is a text that could not be encoded.
  BpeModel(const Vocabulary& vocabulary, const Settings& settings, Bpe bpe,
           const std::string& place);

  void encode(std::string_view word, const Vocabulary& vocabulary, Scratch& scratch,
              std::vector<int32_t>& ids) const override;
  int32_t byte_id(uint8_t byte) const override;

 private:
  void start_with_bytes(std::string_view word, std::vector<int32_t>& symbols) const;
  void start_with_characters(std::string_view word, std::vector<int32_t>& symbols) const;

  Settings settings_;
  Bpe bpe_;
  std::array<int32_t, 256> byte_ids_{};               // -1: none
  std::unordered_map<char32_t, int32_t> characters_;  // tokens of one character
};

// The token that stands for a byte in a vocabulary of characters: "<0x0A>".
std::string byte_token(uint8_t byte);
// The byte that such a content stands for; -1 if it is no such content.
int byte_of_token(std::string_view content);

}  // namespace slim
