// WordAligner: finds when the tokens of a decoded text are said. The text goes through the decoder
// once more, all at once, over the window's encoder rows; what the alignment heads score on the way
// gives the times (token_times.h), the logits give the probabilities.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/speech_tokens.h"
#include "engine/step_batch.h"
#include "engine/token_times.h"

namespace slim {

class WordAligner {
 public:
  // Both must outlive it. Throws Error{unsupported_model} if the model names no alignment heads.
  WordAligner(const Model& model, const SpeechTokens& tokens);

  // `start`: the start token and what says language and task. `text`: ids below the end token.
  // `frames`: of the window that hold sound. Takes 4 bytes for every head, token and position, and
  // for every token and entry of the vocabulary.
  TokenTimes align(const PageTable& encoded, std::span<const int32_t> start,
                   std::span<const int32_t> text, int64_t frames);

 private:
  const Model& model_;
  const SpeechTokens& tokens_;
  std::vector<std::vector<int64_t>> heads_;  // by decoder layer
  int64_t head_count_ = 0;
  StepBatch batch_;
};

}  // namespace slim
