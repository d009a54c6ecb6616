// What a Tokenizer is made of, for tokenizer_json.cpp to fill and tokenizer.cpp to use.
#pragma once

#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/pretokenizer.h"
#include "text/tokenizer.h"
#include "text/vocabulary.h"

namespace slim {

struct Tokenizer::Parts {
  Vocabulary vocabulary;
  // Added tokens that are matched before normalisation, then those matched after it. Without a
  // normaliser the text is the same, but the first still win over the second.
  AddedTokens added_before;
  AddedTokens added_after;
  Pretokenizer pretokenizer;
  Bpe bpe;
};

}  // namespace slim
