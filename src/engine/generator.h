// Generator: prompts in, samples of text out. Every pass through the model serves all samples: one
// token of each that is writing, and chunks of prompts up to the size of a step. So several
// requests, and several samples of one, run side by side; a row's result does not depend on its
// neighbours, nor on where prompts were cut.
//
// Samples of one prompt share its pages (PageTable::fork). Where a sequence crosses into another
// regime of positions (longrope), its rows are forgotten and computed anew from its tokens.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/step_batch.h"
#include "engine/text_tokens.h"
#include "models/model.h"
#include "slim/generation.h"
#include "text/tokenizer.h"

namespace slim {

struct TextRequest {
  std::vector<int32_t> tokens;  // the prompt
  int samples = 1;
  const GenerateOptions* options = nullptr;
  bool continues = true;  // the text goes on after the prompt's: a space in front of it is kept
  // Rows of what an encoder read, where the model has one: the prompt is then what its decoder
  // begins with. It must outlive the run.
  const PageTable* encoded = nullptr;
  // With one sample: has rows for some of the first tokens of the prompt, not for all. It is used,
  // and gets rows for more of the prompt and the text. May be null.
  Sequence* kept = nullptr;
};

class Generator {
 public:
  // The arguments must outlive it.
  Generator(const Model& model, std::shared_ptr<const Tokenizer> tokenizer,
            const TextTokens& tokens)
      : model_(model), tokenizer_(std::move(tokenizer)), tokens_(tokens) {}

  // Throws Error{bad_request} for options out of range, for a prompt that is longer than the
  // context (with both counts) and for an empty one; Error{bad_file} for logits that are no
  // numbers. On an Error what is kept has no rows.
  std::vector<Generation> run(std::span<const TextRequest> requests);

 private:
  const Model& model_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  const TextTokens& tokens_;
};

}  // namespace slim
