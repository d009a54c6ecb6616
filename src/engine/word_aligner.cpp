// One teacher-forced pass: start, <|notimestamps|>, text, end.
#include "engine/word_aligner.h"

#include <algorithm>
#include <numeric>

#include "engine/logits.h"
#include "slim/error.h"

namespace slim {
namespace {

constexpr int64_t kFramesPerPosition = 2;
constexpr double kSecondsPerPosition = 0.02;

}  // namespace

WordAligner::WordAligner(const Model& model, const SpeechTokens& tokens)
    : model_(model),
      tokens_(tokens),
      heads_(static_cast<size_t>(model.spec().decoder.layers)),
      batch_(model) {
  for (const std::vector<int64_t>& pair : model.spec().alignment_heads) {
    heads_.at(static_cast<size_t>(pair.at(0))).push_back(pair.at(1));
    ++head_count_;
  }
  if (head_count_ == 0) {
    throw Error(ErrorCode::unsupported_model,
                "The model names no alignment heads, by which word times are found.",
                "alignment_heads");
  }
}

TokenTimes WordAligner::align(const PageTable& encoded, std::span<const int32_t> start,
                              std::span<const int32_t> text, int64_t frames) {
  if (text.empty()) return {{0}, {}};
  const auto first = std::ssize(start);
  // A text that filled the context leaves no room for the two tokens around it: its last ones then
  // share a time.
  const int64_t count = std::min(std::ssize(text), model_.context() - first - 2);
  std::vector<int32_t> tokens(start.begin(), start.end());
  tokens.push_back(tokens_.no_timestamps);
  tokens.insert(tokens.end(), text.begin(), text.begin() + count);
  tokens.push_back(tokens_.end);

  Tensor scores = Tensor::allocate(host_device(), DType::f32,
                                   {head_count_ * std::ssize(tokens), encoded.rows()});
  std::vector<HeadScores> wanted;
  int64_t row = 0;
  for (const std::vector<int64_t>& heads : heads_) {
    const int64_t rows = std::ssize(heads) * std::ssize(tokens);
    wanted.push_back({heads, scores.writable_matrix().rows_from(row, rows)});
    row += rows;
  }
  std::vector<int64_t> predicting(static_cast<size_t>(count));
  std::iota(predicting.begin(), predicting.end(), first);
  Sequence sequence{model_.new_sequence(), &encoded};
  batch_.clear();
  batch_.add(sequence, tokens, predicting);
  batch_.run(wanted);

  const AlignmentRange range{
      .heads = head_count_,
      .first = first,
      .count = count + 1,
      .positions = std::clamp<int64_t>(frames / kFramesPerPosition, 1, encoded.rows())};
  const std::vector<float> weights = alignment_weights(scores.writable_matrix(), range);
  TokenTimes times;
  for (const int64_t position : first_positions(weights, range.count, range.positions)) {
    times.at.push_back(static_cast<double>(position) * kSecondsPerPosition);
  }
  for (int64_t i = 0; i < count; ++i) {
    const std::span<const float> logits = batch_.logits(i).first(static_cast<size_t>(tokens_.end));
    times.probability.push_back(probability_of(logits, text[static_cast<size_t>(i)]));
  }
  times.at.resize(text.size() + 1, times.at.back());
  times.probability.resize(text.size(), times.probability.back());
  return times;
}

}  // namespace slim
