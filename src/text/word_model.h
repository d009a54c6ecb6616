// WordModel: what turns one word, as the pretokenizer leaves it, into tokens: BPE merges, or the
// likeliest cut into pieces.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "text/bpe.h"
#include "text/vocabulary.h"

namespace slim {

class WordModel {
 public:
  // Working space, reused from word to word by one thread.
  struct Scratch {
    Bpe::Scratch bpe;
    // The best cut of the text up to each byte: the piece that ends there, and where it starts.
    struct Cut {
      double score;
      int32_t piece;
      int32_t begin;  // -1: none ends here
    };
    std::vector<Cut> cuts;
    std::vector<size_t> ends;  // of the pieces of the best cut, the last one first
  };

  virtual ~WordModel() = default;
  // Appends the tokens of a word of UTF-8. `vocabulary` is the one that the model was made for.
  virtual void encode(std::string_view word, const Vocabulary& vocabulary, Scratch& scratch,
                      std::vector<int32_t>& ids) const = 0;
  // The token of a byte that is not part of a UTF-8 character.
  virtual int32_t byte_id(uint8_t byte) const = 0;
};

}  // namespace slim
