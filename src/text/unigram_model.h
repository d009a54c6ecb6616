// UnigramModel: the likeliest cut of a text into pieces, as sentencepiece and the `tokenizers`
// library take it. Each piece has a score, its log-probability; of all cuts the one with the
// largest sum wins (Kudo 2018, https://arxiv.org/abs/1804.10959):
//
//   best(e) = max over pieces that end at e and start at b of best(b) + score
//
// A character that no piece stands for is an unknown piece with the least score of all less 10;
// several in a row are one token, or their bytes' tokens. Of equal sums the one whose last piece
// starts first wins. O(bytes of the text x bytes of the longest piece).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/prefix_tree.h"
#include "text/word_model.h"

namespace slim {

class UnigramModel final : public WordModel {
 public:
  struct Piece {
    std::string content;
    double score = 0;
    int32_t id = -1;            // -1: the vocabulary has not got it, so it is unknown after all
    bool user_defined = false;  // wins wherever it can stand; its own score does not count
  };
  struct Settings {
    bool single_precision = false;  // sums are rounded to f32, as sentencepiece does
    bool byte_fallback = false;
    // The ids are those of a vocabulary beside the pieces: it may lack tokens for bytes, which are
    // unknown then, and unknown characters in a row that are a token of it together are that token.
    bool outer_vocabulary = false;
    double least = 0;  // the least score of all, and ...
    double most = 0;   // ... the most
    std::optional<int32_t> unknown;
  };

  // Throws Error{unsupported_model} with `place` if there is a text that could not be encoded.
  UnigramModel(const Vocabulary& vocabulary, std::vector<Piece> pieces, const Settings& settings,
               const std::string& place);

  void encode(std::string_view word, const Vocabulary& vocabulary, Scratch& scratch,
              std::vector<int32_t>& ids) const override;
  int32_t byte_id(uint8_t byte) const override;

 private:
  struct Value {
    double score;
    int32_t id;
    bool user_defined;
  };
  void cut(std::string_view word, std::vector<Scratch::Cut>& cuts) const;
  void append_unknown(std::string_view surface, const Vocabulary& vocabulary,
                      std::vector<int32_t>& ids) const;

  Settings settings_;
  PrefixTree tree_;
  std::vector<Value> values_;  // by the tree's numbers
  std::array<int32_t, 256> byte_ids_{};
  bool has_bytes_ = false;  // a token for each
};

}  // namespace slim
