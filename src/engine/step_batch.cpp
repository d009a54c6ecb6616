// Slices over page tables. Consecutive sequences over the same encoder rows become one cross slice,
// so that a kernel reads those rows once for all of them.
#include "engine/step_batch.h"

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "attention/step_scratch.h"
#include "base/check.h"

namespace slim {
namespace {

// What the standard cache takes of a row of either side.
int64_t kv_row_bytes(const Model& model, bool cross) {
  int64_t bytes = 0;
  for (const LayerPlan& layer : model.plan()) {
    if (layer.cross == cross) bytes += layer.kv_bytes_per_token;
  }
  return bytes;
}

}  // namespace

std::vector<Sequence> followed(std::span<const size_t> parents, std::vector<Sequence> before) {
  std::vector<Sequence> after;
  for (size_t i = 0; i < parents.size(); ++i) {
    const auto later = parents.subspan(i + 1);
    const bool shared = std::find(later.begin(), later.end(), parents[i]) != later.end();
    Sequence& parent = before[parents[i]];
    after.push_back(shared ? parent.fork() : std::move(parent));
  }
  return after;
}

void raise_peak(const Model& model, std::span<const Sequence* const> sequences,
                ContextBytes* peak) {
  int64_t own = 0;
  int64_t encoder = 0;
  int64_t encoder_rows = 0;
  std::unordered_set<const PageTable*> encoded;
  std::unordered_set<const std::byte*> pages;
  for (const Sequence* sequence : sequences) {
    own += sequence->rows.held_bytes();
    for (int64_t i = 0; i < sequence->rows.page_count(); ++i) {
      const bool shared = !pages.insert(sequence->rows.pages()[i]).second;
      if (shared) own -= model.self_pages().page_bytes();
    }
    const PageTable* rows = sequence->encoded;
    if (!encoded.insert(rows).second) continue;
    encoder += rows->held_bytes();
    encoder_rows += rows->rows();
  }
  if (own + encoder <= peak->slim) return;
  peak->slim = own + encoder;
  const PagePool& pages_of_own = model.self_pages();
  const int64_t own_rows = own / pages_of_own.page_bytes() * pages_of_own.page_rows();
  peak->kv = own_rows * kv_row_bytes(model, false) + encoder_rows * kv_row_bytes(model, true);
}

void StepBatch::clear() {
  sequences_.clear();
  counts_.clear();
  tokens_.clear();
  positions_.clear();
  logits_for_.clear();
  self_.clear();
  cross_.clear();
}

void StepBatch::add(Sequence& sequence, std::span<const int32_t> tokens) {
  const auto last = static_cast<int64_t>(tokens.size()) - 1;
  add(sequence, tokens, std::span(&last, 1));
}

void StepBatch::add(Sequence& sequence, std::span<const int32_t> tokens,
                    std::span<const int64_t> logits_at) {
  check(!tokens.empty(), "a step adds at least one token to a sequence");
  const auto count = static_cast<int64_t>(tokens.size());
  const int64_t before = sequence.rows.rows();
  const int32_t regime = model_.regime(before + count);
  check(before == 0 || regime <= sequence.regime, "the rows of a sequence keep their regime");
  sequence.rows.reserve(count);
  sequence.regime = std::max(sequence.regime, regime);
  const auto first = static_cast<int64_t>(tokens_.size());
  for (const int64_t index : logits_at) logits_for_.push_back(first + index);
  tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
  for (int64_t i = 0; i < count; ++i) positions_.push_back(static_cast<int32_t>(before + i));
  self_.push_back({.first = first,
                   .count = count,
                   .rows = before + count,
                   .pages = sequence.rows.pages(),
                   .position = before,
                   .regime = sequence.regime,
                   .hot = sequence.rows.hot()});
  if (sequence.encoded != nullptr) {
    const bool joins = !sequences_.empty() && sequences_.back()->encoded == sequence.encoded;
    if (joins) {
      cross_.back().count += count;
    } else {
      cross_.push_back({.first = first,
                        .count = count,
                        .rows = sequence.encoded->rows(),
                        .pages = sequence.encoded->pages()});
    }
  }
  sequences_.push_back(&sequence);
  counts_.push_back(count);
}

DecoderStep StepBatch::gathered() const {
  return {.tokens = tokens_,
          .positions = positions_,
          .self = self_,
          .cross = cross_,
          .logits_for = logits_for_,
          .logits = {}};
}

void StepBatch::run_step(const DecoderStep& step) {
  model_.forward(step);
  for (size_t i = 0; i < sequences_.size(); ++i) sequences_[i]->rows.advance(counts_[i]);
}

DecoderStep StepBatch::gathered_to_logits() {
  if (logits_.empty() || logits_.size(0) < rows()) {
    logits_ = Tensor::allocate(host_device(), DType::f32, {rows(), model_.spec().outputs()});
  }
  DecoderStep step = gathered();
  step.logits = all_logits();
  return step;
}

void StepBatch::run(std::span<const HeadScores> cross_scores) {
  DecoderStep step = gathered_to_logits();
  step.cross_scores = cross_scores;
  run_step(step);
}

void StepBatch::run_to_probabilities(std::span<const ForbiddenColumns> forbidden) {
  DecoderStep step = gathered_to_logits();
  step.forbidden = forbidden;
  step.log_probabilities = true;
  run_step(step);
}

void StepBatch::run_to_candidates(FindCandidates wanted,
                                  std::span<const ForbiddenColumns> forbidden) {
  candidates_.resize(logits_for_.size() * static_cast<size_t>(wanted.count));
  wanted.candidates = candidates_;
  DecoderStep step = gathered();
  step.forbidden = forbidden;
  step.candidates = &wanted;
  run_step(step);
}

std::span<const Candidate> StepBatch::candidates(int64_t row) const {
  const size_t count = candidates_.size() / logits_for_.size();
  return std::span(candidates_).subspan(static_cast<size_t>(row) * count, count);
}

void StepBatch::log_softmax(int64_t rows) {
  Kernels& kernels = model_.kernels();
  const Matrix logits = all_logits().rows_from(0, rows);
  if (kernels.device().host()) return kernels.log_softmax({logits, logits});
  StepScratch scratch(kernels.device());
  const Matrix there = scratch.matrix(rows, logits.columns);
  copy_matrix(kernels.device(), logits, there);
  kernels.log_softmax({there, there});
  copy_matrix(kernels.device(), there, logits);
}

std::span<float> StepBatch::logits(int64_t row) {
  const int64_t outputs = model_.spec().outputs();
  return {logits_.writable<float>() + row * outputs, static_cast<size_t>(outputs)};
}

Matrix StepBatch::all_logits() { return logits_.writable_matrix().rows_from(0, rows()); }

}  // namespace slim
