// What the K-cache takes from the weights of a layer: the prediction of its errors, by which a plan
// chooses rows, and the map, spill and shaping of the rows chosen.
#pragma once

#include <memory>

#include "attention/scheme.h"

namespace slim {

// Both, of one factoring of W_K: for who plans a layer and runs it. Takes the input as white.
class LayerTransforms {
 public:
  // Cost: about 3 e^3 operations, and for each spill and rank a few hundred rank e^2 more. Weights
  // that are not finite: Error{bad_file}.
  LayerTransforms(const AttentionSpec& spec, const AttentionWeights& weights);
  ~LayerTransforms();

  // The condition number of W_K; and where keys are turned and could be sealed, the errors
  // predicted for all key_choices().
  const Conditioning& conditioning() const noexcept { return conditioning_; }
  // As derive_weights(), at a third of the cost where the errors of these rows were predicted.
  DerivedWeights derive(const RowChoice& rows) const;

 private:
  class Maps;
  friend DerivedWeights derive_weights(const AttentionWeights& weights, const RowChoice& rows);

  AttentionWeights weights_;
  Conditioning conditioning_;
  std::unique_ptr<const Maps> maps_;  // of keys that could be sealed
};

Conditioning find_conditioning(const AttentionSpec& spec, const AttentionWeights& weights);

// For sealed rows M is rounded to i16, shaped; for others it is f32. Throws
// Error{unsupported_model} if no such map exists.
DerivedWeights derive_weights(const AttentionWeights& weights, const RowChoice& rows);

}  // namespace slim
