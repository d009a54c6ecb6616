// What a Tokenizer is made of, for the readers of files to fill and tokenizer.cpp to use.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "text/added_tokens.h"
#include "text/normalizer.h"
#include "text/pretokenizer.h"
#include "text/token_decoder.h"
#include "text/tokenizer.h"
#include "text/vocabulary.h"
#include "text/word_model.h"

namespace slim {

struct Tokenizer::Parts {
  Vocabulary vocabulary;
  // Added tokens that are matched before normalisation, then those matched after it. Without a
  // normaliser the text is the same, but the first still win over the second.
  AddedTokens added_before;
  AddedTokens added_after;
  Normalizer normalizer;
  Pretokenizer pretokenizer;
  std::unique_ptr<const WordModel> model;
  TokenDecoder decoder;
  // What a template puts before and after a text.
  std::vector<int32_t> prefix;
  std::vector<int32_t> suffix;
  std::optional<int32_t> bos;
  std::optional<int32_t> eos;
  std::optional<std::string> chat_template;
};

// Four times the largest vocabulary in use (Gemma's 262,144).
inline constexpr int32_t kMaximumTokens = 1 << 20;
// Far above any real token; bounds what encode() compares at one position.
inline constexpr size_t kMaximumContent = 1024;
// Eight times the largest file in use (Gemma's 33 MB).
inline constexpr size_t kMaximumTokenizerFile = size_t{256} << 20;

// Enters added tokens into a vocabulary, which may have them already, and into `list`; a repetition
// of one in `list` is passed over. Throws Error{bad_file} with `place` for one that is malformed or
// contradicts the vocabulary.
void add_tokens(std::vector<AddedToken> tokens, const TokenDecoder& decoder, Vocabulary& vocabulary,
                std::vector<AddedToken>& list, const std::string& place);

// Puts added tokens that are matched in normalised text into the form they have there. Those that
// become empty or equal to an earlier one can never be matched and are left out.
std::vector<AddedToken> normalized_tokens(std::vector<AddedToken> tokens,
                                          const Normalizer& normalizer);

}  // namespace slim
