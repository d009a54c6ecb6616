// The two ways in which files say what may merge: a list of pairs in order, and a score for each
// token, where any two tokens whose joint content is a token may merge, the highest score first.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "base/function_ref.h"
#include "text/bpe.h"
#include "text/vocabulary.h"

namespace slim {

// A merge is ["a", "b"] or, since no content has a space in it, ["a b"]. Calls reject(index, why),
// which throws, for one that is malformed, repeats another, or needs a token that there is not.
Bpe make_bpe(std::vector<std::vector<std::string>> merges, const Vocabulary& vocabulary,
             FunctionRef<void(size_t, const std::string&)> reject);

// `scores` by id. Only tokens with Token::model merge or result from merging, and none of more than
// 256 bytes. Equal scores have equal rank, so that the leftmost pair wins, as in sentencepiece.
// O(bytes of the vocabulary) look-ups.
Bpe make_bpe(const std::vector<float>& scores, const Vocabulary& vocabulary);

}  // namespace slim
