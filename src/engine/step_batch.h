// StepBatch: gathers the next tokens of several sequences into one decoder pass. The one place
// where the engine turns page tables into slices; transcription, verification and benchmarks share
// it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "models/model.h"
#include "slim/report.h"

namespace slim {

// One sequence being decoded: its own rows, and the encoder rows it attends to (shared by beams and
// by every sequence over the same window), if there are any.
struct Sequence {
  PageTable rows;
  const PageTable* encoded = nullptr;
  // Of its rows (Model::regime). A sequence without rows gets that of its first tokens, or the
  // higher one it is given beforehand: that of a whole prompt which is added in parts. Rows cannot
  // change their regime: a sequence that would, must be truncated to none and added anew.
  int32_t regime = 0;

  // Another one over the same rows, which go on apart (PageTable::fork).
  Sequence fork() const { return {rows.fork(), encoded, regime}; }
};

// The rows of each text that goes on, by which one it goes on from: its parent's own, where no
// later one has the same parent, or a fork of them.
std::vector<Sequence> followed(std::span<const size_t> parents, std::vector<Sequence> before);

// Raises `peak` to what these sequences hold, if that is more: pages of both sides, shared ones
// once; and what a standard cache would hold in as many pages of their own, and of encoder rows.
void raise_peak(const Model& model, std::span<const Sequence* const> sequences, ContextBytes* peak);

class StepBatch {
 public:
  explicit StepBatch(const Model& model) : model_(model) {}
  const Model& model() const noexcept { return model_; }

  // Starts the next step.
  void clear();
  // Appends `tokens` to `sequence` (at most once per step; it must live until run() returns).
  // `logits_at` are indices into tokens, ascending. Throws Error{out_of_memory}: then the sequences
  // are as before.
  void add(Sequence& sequence, std::span<const int32_t> tokens, std::span<const int64_t> logits_at);
  // As above with logits for the last token only.
  void add(Sequence& sequence, std::span<const int32_t> tokens);
  // Runs the pass; every sequence has its new rows afterwards. `cross_scores`: as in DecoderStep.
  void run(std::span<const HeadScores> cross_scores = {});

  // As run(), but rows are log-probabilities of what is not forbidden. This and the next: if
  // Model::judges_logits().
  void run_to_probabilities(std::span<const ForbiddenColumns> forbidden);
  // As run(), for whoever needs no more of rows than their candidates: of all else that `wanted`
  // says. Where device memory is not the host's, the rows stay there.
  void run_to_candidates(FindCandidates wanted, std::span<const ForbiddenColumns> forbidden = {});
  // Of a row; valid until the next run_to_candidates().
  std::span<const Candidate> candidates(int64_t row) const;

  // Makes log-probabilities of the first `rows` rows of logits.
  void log_softmax(int64_t rows);

  // Rows of logits in the order they were asked for, in the host's memory; valid until the next
  // run().
  int64_t rows() const { return static_cast<int64_t>(logits_for_.size()); }
  std::span<float> logits(int64_t row);
  Matrix all_logits();

 private:
  DecoderStep gathered() const;
  DecoderStep gathered_to_logits();
  void run_step(const DecoderStep& step);

  const Model& model_;
  std::vector<Sequence*> sequences_;
  std::vector<int64_t> counts_;
  std::vector<int32_t> tokens_;
  std::vector<int32_t> positions_;
  std::vector<int64_t> logits_for_;
  std::vector<Slice> self_;
  std::vector<Slice> cross_;
  std::vector<Candidate> candidates_;
  Tensor logits_;  // grows to the largest step seen
};

}  // namespace slim
