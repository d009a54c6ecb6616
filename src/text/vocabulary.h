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
    bool added = false;        // is found in text as it is ...
    bool model = false;        // ... and is one that BPE may give; some are both
    std::string bytes;         // what it is in text
    std::string_view content;  // as the file writes it; set by add()
  };

  Vocabulary() = default;
  // Tokens point into the map's keys, which a move leaves where they are and a copy does not.
  Vocabulary(Vocabulary&&) = default;
  Vocabulary& operator=(Vocabulary&&) = default;

  void reserve(size_t tokens) {
    tokens_.reserve(tokens);
    ids_.reserve(tokens);
  }
  // False if the id or the content is taken.
  [[nodiscard]] bool add(int32_t id, std::string_view content, Token token);
  // A known token, to be changed.
  Token& at(int32_t id) { return tokens_[static_cast<size_t>(id)]; }

  int32_t size() const noexcept { return static_cast<int32_t>(tokens_.size()); }
  std::optional<int32_t> id(std::string_view content) const;
  // The same, among the tokens that BPE may give.
  std::optional<int32_t> model_id(std::string_view content) const;
  bool has(int32_t id) const noexcept {
    return id >= 0 && id < size() && tokens_[static_cast<size_t>(id)].known;
  }
  // As the file writes it; "" for a gap. The id is below size().
  std::string_view content(int32_t id) const { return tokens_[static_cast<size_t>(id)].content; }
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
