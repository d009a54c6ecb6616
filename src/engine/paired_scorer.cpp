// A step of each model for each token.
#include "engine/paired_scorer.h"

#include <algorithm>

#include "engine/runtime.h"
#include "engine/step_batch.h"

namespace slim {
namespace {

void advance(StepBatch& step, Sequence& sequence, int32_t token) {
  step.clear();
  step.add(sequence, std::span(&token, 1));
  step.run();
}

}  // namespace

void PairedScorer::score(const Encode& encode, std::span<const int32_t> tokens) {
  const Tensor encoded = encode(reference_);
  const bool alike = candidate_.arithmetic() == reference_.arithmetic();
  const PageTable reference_rows = reference_.remember(encoded.matrix());
  const PageTable candidate_rows =
      candidate_.remember(alike ? encoded.matrix() : encode(candidate_).matrix());
  Sequence reference{reference_.new_sequence(), &reference_rows};
  Sequence candidate{candidate_.new_sequence(), &candidate_rows};
  StepBatch reference_step(reference_);
  StepBatch candidate_step(candidate_);
  const auto limit = static_cast<size_t>(reference_.context());
  tokens = tokens.first(std::min(tokens.size(), limit));
  for (const int32_t token : tokens) {
    advance(reference_step, reference, token);
    advance(candidate_step, candidate, token);
    divergence_.add(reference_step.logits(0), candidate_step.logits(0));
  }
  slim_bytes_ = std::max(slim_bytes_, candidate.rows.held_bytes() + candidate_rows.held_bytes());
  longest_ = std::max(longest_, static_cast<int64_t>(tokens.size()));
  positions_ = std::max(positions_, encoded.size(0));
  ++sequences_;
}

Verification PairedScorer::verification() const {
  Verification result = verification_of(divergence_, candidate_);
  result.sequences = sequences_;
  result.context.slim = slim_bytes_;
  result.context.kv = kv_context(candidate_, longest_, positions_);
  result.context_tokens = longest_;
  result.context_bf16_bytes = bf16_context(candidate_.spec(), longest_, positions_);
  return result;
}

}  // namespace slim
