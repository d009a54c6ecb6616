// TokenRules: what may follow a text that is being written for another, as Transformers' generate()
// rules it: penalties for what is there already, tokens and sequences that may not come (again),
// and where a text may end.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace slim {

struct TokenRules {
  double repetition_penalty = 1;  // of tokens in the text: z > 0 ? z / penalty : z * penalty
  int no_repeat_ngram = 0;        // no sequence of so many tokens comes twice; 0: it may
  std::vector<std::vector<int32_t>> banned;  // sequences that never come
  std::vector<int32_t> not_first;            // tokens that are not written first, ...
  int64_t first = 0;                         // ... after so many that were forced
  std::vector<int32_t> ends;
  int64_t least = 0;  // tokens that a text has before it may end

  // Whether there are any that would change the row after a text of which so many were written.
  bool apply_to(int64_t written) const {
    return repetition_penalty != 1 || no_repeat_ngram > 0 || !banned.empty() || written < least ||
           (written == first && !not_first.empty());
  }
  // Changes the row of what may follow: logits, or log-probabilities. `tokens`: the decoder's, from
  // its start token on; `written`: how many of them the model wrote. Cost: O(tokens).
  void apply(std::span<const int32_t> tokens, int64_t written, std::span<float> row) const;

 private:
  void penalise(std::span<const int32_t> tokens, std::span<float> row) const;
  void ban_repeated(std::span<const int32_t> tokens, std::span<float> row) const;
};

}  // namespace slim
