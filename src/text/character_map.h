// CharacterMap: sentencepiece's normalisation by a table ("nmt_nfkc" and its kin): what each of
// some characters and sequences of them becomes. The table is a double array (Aoe 1989, in the form
// of Darts-clone) over UTF-8, followed by the texts that its values point to:
//
//   u32 bytes of the array, the array of u32 units, texts that end in a zero byte
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/prefix_tree.h"

namespace slim {

class CharacterMap {
 public:
  // The units and texts of such a table. Throws Error{bad_file} with `place` if it is malformed.
  static std::shared_ptr<const CharacterMap> read(std::string_view bytes, const std::string& place);
  // The same in base 64, as tokenizer.json has it.
  static std::shared_ptr<const CharacterMap> read_base64(std::string_view text,
                                                         const std::string& place);

  // As sentencepiece applies it: at each place the longest sequence counts. What is in `kept`,
  // which may be null, stays as it is. Texts must be UTF-8.
  std::string apply(std::string_view text, const PrefixTree* kept) const;
  // As the `tokenizers` library applies it: a grapheme cluster of up to five bytes as a whole,
  // where it starts with a sequence of the table, of which the shortest counts; else each
  // character.
  std::string apply_to_graphemes(std::string_view text) const;

 private:
  struct Match {
    size_t length = 0;
    std::string_view text;
  };
  CharacterMap(std::vector<uint32_t> units, std::string texts);
  void check(const std::string& place) const;
  // The sequence that the text starts with; length 0: there is none.
  Match match(std::string_view text, bool longest) const;
  void append_grapheme(std::string_view cluster, std::string& out) const;
  std::string_view text_at(uint32_t value) const;

  std::vector<uint32_t> units_;
  std::string texts_;
};

}  // namespace slim
