// Scoring: a text's tokens through one model or two, cut into sequences, with the logits of every
// token. Passes are large: by the reading rule of the attention layers a query reads sealed earlier
// pages and the f32 rows of its own, whatever the pass, so each token is scored against stored rows
// as in decoding.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/function_ref.h"
#include "engine/divergence.h"
#include "engine/step_batch.h"
#include "models/model.h"
#include "slim/report.h"

namespace slim {

class Runtime;

// Cuts the tokens into runs of at most `context`, each with `begin` before it where that is not
// empty (it counts). A last run of a single token is dropped: it foretells nothing.
std::vector<std::vector<int32_t>> cut_text(std::span<const int32_t> tokens,
                                           std::span<const int32_t> begin, int64_t context);

// Tokens of a pass so that its logits take 64 MB at most; 16 to 512.
int64_t scoring_step(int64_t vocabulary);

// Runs one sequence through all models in step; score(i, logits) is called for each token i in
// order, with a row of logits of each model.
using ScoreToken = FunctionRef<void(size_t token, std::span<const std::span<float>> logits)>;
void score_sequence(std::span<const Model* const> models, std::span<const int32_t> tokens,
                    int64_t step_tokens, ScoreToken score);

// The tokens of a text file, options.max_tokens at most, cut into sequences of options.context.
// Throws Error{bad_file} if it cannot be read, Error{bad_request} for numbers that do not fit the
// model and for a text of less than two tokens.
using TextSequences = std::vector<std::vector<int32_t>>;
TextSequences read_sequences(const Runtime& runtime, const std::string& path,
                             const ScoreOptions& options);

// Scores sequence by sequence until options.on_progress has enough; returns how many it was.
using ScoreTextToken = FunctionRef<void(const std::vector<int32_t>& tokens, size_t token,
                                        std::span<const std::span<float>> logits)>;
int64_t score_text(std::span<const Model* const> models, const TextSequences& sequences,
                   const ScoreOptions& options, ScoreTextToken score);

// The same, adding how far the second model is from the first. Throws Error{bad_file} where the
// first one's logits are no numbers.
int64_t add_divergence(const std::array<const Model*, 2>& models, const TextSequences& sequences,
                       const ScoreOptions& options, Divergence& divergence);

}  // namespace slim
