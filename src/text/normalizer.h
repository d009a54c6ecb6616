// Normalizer: what a tokenizer does to text before it cuts it into words, as the normalizers of the
// `tokenizers` library do: Unicode's normal forms, lower case, replacements, a prefix, stripping.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "text/character_map.h"
#include "text/pattern.h"

namespace slim {

// Where a piece of text comes from: added tokens and bytes that are not UTF-8 cut the text that is
// given to encode() into pieces.
struct PiecePlace {
  bool first = true;       // at the very start of the text
  bool continues = false;  // follows a byte that is not UTF-8, so nothing is put before it
};

class Normalizer {
 public:
  enum class Form { nfc, nfd, nfkc, nfkd };
  struct Lowercase {};
  struct Prepend {
    std::string text;
    bool first_only = false;      // only to what starts the whole text
    bool before_nothing = false;  // even where the steps before it left nothing of the text
  };
  struct Replace {
    Pattern pattern;
    std::string text;
  };
  struct Strip {
    bool left, right;
  };
  struct Characters {
    std::shared_ptr<const CharacterMap> map;
    bool by_graphemes = false;
    std::shared_ptr<const PrefixTree> kept = nullptr;  // what stays as it is
  };
  using Step = std::variant<Form, Lowercase, Prepend, Replace, Strip, Characters>;

  Normalizer() = default;
  explicit Normalizer(std::vector<Step> steps) : steps_(std::move(steps)) {}

  bool changes_nothing() const noexcept { return steps_.empty(); }
  // `text` must be UTF-8; so is the result. Text that loses its start is no longer the first.
  // Throws Error{out_of_memory}.
  std::string apply(std::string_view text, PiecePlace& place, Matcher& matcher) const;

 private:
  std::vector<Step> steps_;
};

}  // namespace slim
