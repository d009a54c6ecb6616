// A Tokenizer from sentencepiece's pieces: BPE over characters in which every piece has a score, as
// tokenizer.model and GGUF's "llama" vocabularies have it. Text is normalised by writing a space as
// U+2581 and, where asked, putting one in front.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "text/tokenizer_parts.h"

namespace slim {

// The numbers are those of sentencepiece's files, and of GGUF's.
enum class PieceKind { normal = 1, unknown, control, user_defined, unused, byte };

struct Piece {
  std::string content;
  float score = 0;
  PieceKind kind = PieceKind::normal;
};

struct PieceModel {
  std::vector<Piece> pieces;  // by id
  std::optional<int32_t> bos;
  std::optional<int32_t> eos;
  bool prefix_space = true;          // put a space in front of a text
  bool prefix_first_only = true;     // else in front of what follows a control piece too
  bool remove_extra_spaces = false;  // at both ends, and all but one of several
  bool add_bos = true;               // what the template puts around a text
  bool add_eos = false;
  // More tokens that are found in text as they are; their ids may lie above the pieces'.
  std::vector<AddedToken> added;
};

// Throws Error{bad_file} with `place` for pieces that are malformed, and for two that are equal;
// Error{unsupported_model} if there is a text that could not be encoded.
std::unique_ptr<Tokenizer::Parts> make_piece_tokenizer(PieceModel model, const std::string& place);

}  // namespace slim
