// Pretokenizer: cuts text into the words that BPE works on, by the steps that a tokenizer.json has,
// each of which works on what the ones before it left.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/function_ref.h"
#include "text/normalizer.h"
#include "text/pattern.h"

namespace slim {

class Pretokenizer {
 public:
  // What becomes of a match: cut out of the text, a word of its own, or joined to a neighbour
  // (contiguous: matches that touch are one word).
  enum class Behavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };
  struct Split {
    Pattern pattern;
    Behavior behavior = Behavior::isolated;
    bool invert = false;  // what does not match is the match
  };
  // A word that does not start with a space gets one.
  struct PrefixSpace {};
  // Spaces become `mark`; a word that does not start with one gets one.
  struct Metaspace {
    enum class Prepend { always, first, never };
    std::string mark;
    Prepend prepend = Prepend::always;
  };
  using Step = std::variant<Split, PrefixSpace, Metaspace>;

  Pretokenizer() = default;
  explicit Pretokenizer(std::vector<Step> steps) : steps_(std::move(steps)) {}

  // Calls word(text) for all of the text in order; words are not empty. `text` must be UTF-8.
  void each_word(std::string_view text, PiecePlace place, Matcher& matcher,
                 FunctionRef<void(std::string_view)> word) const;

 private:
  struct Run;  // what stays the same from step to step of one call
  void run(size_t step, std::string_view text, PiecePlace place, const Run& run) const;

  std::vector<Step> steps_;
};

// The expression of GPT-2, which ByteLevel brings along:
//   's 't 're 've 'm 'll 'd | ?letters | ?digits | ?others | spaces not before a word | spaces
Pretokenizer::Split byte_level_split();

}  // namespace slim
