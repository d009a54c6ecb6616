// PairedScorer: the same tokens through two models over the same window or source, one at a time,
// so that each is scored against rows that were stored and read back: a prefill that reads nothing
// back would prove nothing. What verify measures of models with an encoder.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "engine/divergence.h"
#include "models/model.h"
#include "slim/report.h"

namespace slim {

class PairedScorer {
 public:
  // The arguments must outlive it.
  PairedScorer(const Model& reference, const Model& candidate)
      : reference_(reference), candidate_(candidate) {}

  // Gives what a model's encoder makes of one window or source. Where both round alike, the
  // reference's serves both.
  using Encode = std::function<Tensor(const Model& model)>;
  // `tokens`: of the decoder, from its start token on; those beyond its context are left out.
  void score(const Encode& encode, std::span<const int32_t> tokens);

  int64_t tokens() const { return divergence_.tokens(); }
  // What there is to tell; context: of the longest sequence.
  Verification verification() const;

 private:
  const Model& reference_;
  const Model& candidate_;
  Divergence divergence_;
  int64_t slim_bytes_ = 0;  // most that one sequence's pages held
  int64_t longest_ = 0;     // tokens of the longest sequence
  int64_t positions_ = 0;   // most encoder rows
  int64_t sequences_ = 0;
};

}  // namespace slim
