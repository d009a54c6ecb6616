// Text for text: what Engine::translate takes and gives, of models whose encoder reads a text and
// whose decoder writes another (T5, Marian, BART, Pegasus, M2M100 and NLLB, mBART).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "slim/generation.h"

namespace slim {

// Whatever is not given is what the model's generation_config.json (or config.json) says, or else
// the value named here. The search is that of Transformers: of all candidates of a step, those
// among the best B that end are kept by their score, sum of log-probabilities / length^penalty, and
// the best B that do not end go on, until B * patience have ended and none that goes on has a
// better score than the worst of these.
struct TranslateOptions {
  std::string source;         // language codes as the model has them ("en", "eng_Latn", "en_XX"),
  std::string target;         // where it has any; see Engine::languages
  std::string target_prefix;  // what each translation begins with
  std::optional<int> beams;   // B; else 4. 1: greedy
  int hypotheses = 1;         // translations of each text, the best first; at most B, if beams
  std::optional<double> length_penalty;      // else 1
  double patience = 1;                       // above 0
  std::optional<double> repetition_penalty;  // of tokens written, as SamplingOptions has it; else 1
  std::optional<int> no_repeat_ngram;  // no sequence of so many tokens comes twice; else 0: it may
  // Tokens that are written, the target language's among them.
  std::optional<int64_t> min_tokens;  // without the end; else 0
  std::optional<int64_t> max_tokens;  // with the end; else 256
  // With a temperature above 0 the hypotheses are samples instead of beams; sample s of text i has
  // random numbers of its own. Its repeat_penalty does not count: repetition_penalty does.
  SamplingOptions sampling;
  // Number of the first text, for who gives the texts of one file in several calls: samples draw,
  // and messages count, as if all were given at once.
  size_t first = 0;
  int batch = 16;  // texts decoded side by side; it changes results by rounding alone
  // After each text is done, in the order in which they are done; false stops: what is not done has
  // no hypotheses.
  std::function<bool(size_t index, size_t done, size_t total)> on_done;
};

struct TranslationHypothesis {
  std::string text;             // valid UTF-8, without white space at its ends
  std::vector<int32_t> tokens;  // without those that begin a text, and without the end
  double score = 0;             // sum_logprob / length^penalty
  double sum_logprob = 0;       // of what was written and of the end
  Finish finish = Finish::end;  // or length, or context
};

struct Translation {
  int64_t source_tokens = 0;
  // The best first. Of an empty text: one that is empty.
  std::vector<TranslationHypothesis> hypotheses;
};

struct TranslateStats {
  int64_t sources = 0;
  int64_t source_tokens = 0;
  int64_t tokens = 0;         // chosen, of all beams and samples
  int64_t steps = 0;          // passes through the decoder
  double encode_seconds = 0;  // reading the sources
  double decode_seconds = 0;
  double load_seconds = 0;
  int64_t context_bytes = 0;     // most that was held: pages of both sides; shared ones once
  int64_t context_kv_bytes = 0;  // a standard cache: as many pages, and encoder rows
  int64_t weight_bytes = 0;      // as used: mapped or derived
};

// What a model translates between. Of some, any source goes with any target; of others, pairs.
struct TranslationLanguages {
  std::vector<std::string> codes;  // in the order of the model; empty: it has no languages
  std::vector<std::pair<std::string, std::string>> pairs;  // empty: any of `codes`
};

}  // namespace slim
