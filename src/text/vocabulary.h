// Vocabulary: what each id stands for, and the id of each content as a tokenizer file writes it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace slim {

class Vocabulary {
 public:
  struct Token {
    bool known = false;  // ids may have gaps
    bool special = false;
    std::string bytes;
  };

  void reserve(size_t tokens) {
    tokens_.reserve(tokens);
    ids_.reserve(tokens);
  }
  // False if the id or the content is taken.
  [[nodiscard]] bool add(int32_t id, std::string_view content, Token token);
  // Gives a known id other bytes and a flag.
  void replace(int32_t id, Token token) { tokens_[static_cast<size_t>(id)] = std::move(token); }

  int32_t size() const noexcept { return static_cast<int32_t>(tokens_.size()); }
  std::optional<int32_t> id(std::string_view content) const;
  // Throws Error{bad_request} if there is no such id.
  const Token& token(int32_t id) const;

 private:
  struct Hash : std::hash<std::string_view> {
    using is_transparent = void;
  };
  std::vector<Token> tokens_;
  std::unordered_map<std::string, int32_t, Hash, std::equal_to<>> ids_;
};

}  // namespace slim
