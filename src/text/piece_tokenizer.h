// A Tokenizer from sentencepiece's pieces, each of which has a score: BPE over characters, as
// tokenizer.model and GGUF's "llama" vocabularies have it, or the likeliest cut (unigram). Text is
// normalised by a table where there is one, and by writing a space as U+2581 and, where asked,
// putting one in front. The ids are the pieces' places, or what a vocabulary of its own says.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "text/character_map.h"
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
  bool unigram = false;
  std::shared_ptr<const CharacterMap> characters;  // may be null
  // More tokens that are found in text as they are; their ids may lie above the pieces'.
  std::vector<AddedToken> added;
  // Where the ids are not the pieces' places: the id of each; -1, of a unigram model alone: the
  // vocabulary has not got it. Unknown characters may then be one of `others`.
  std::vector<int32_t> ids;
  std::vector<std::pair<std::string, int32_t>> others;  // tokens that are none of the pieces
  std::optional<int32_t> unknown;                       // else the unknown piece
};

// Throws Error{bad_file} with `place` for pieces that are malformed, and for two that are equal;
// Error{unsupported_model} if there is a text that could not be encoded.
std::unique_ptr<Tokenizer::Parts> make_piece_tokenizer(PieceModel model, const std::string& place);

}  // namespace slim
