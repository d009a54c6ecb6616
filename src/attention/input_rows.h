// InputRowsAttention: attention over rows of layer input (x) or encoder output (encoder). Both
// projections move to the query's side, so that a row serves as key and value of every head:
//   q'_i = q_i W_K,i^T   (absorb_key; b_K adds the same to all scores of a query: it cancels)
// where W_K = diag(s) B of bytes B: q_i diag(s) from scaled weights of the query, then B as it is
//   m_i  = softmax(scale * q'_i X^T) X
//   heads_i = m_i W_V,i + b_V,i   (the weights of a softmax add to 1)
// A query must see at least one row: one that sees none would get b_V.
#pragma once

#include <string>

#include "attention/projected_attention.h"

namespace slim {

class InputRowsAttention : public ProjectedAttention {
 public:
  InputRowsAttention(const AttentionSpec& spec, const AttentionWeights& weights, RowType rows,
                     Kernels& kernels);

  std::vector<RowFormat> rows() const override { return {format_}; }
  int64_t derived_bytes() const override { return absorbed_.bytes(); }
  int64_t step_weight_bytes() const override {
    return projection_bytes() + absorbed_.bytes() + weights().v.bytes();
  }

  // How rows of a type are stored: integers but i16 and i8 in sealed pages, unless they are an
  // encoder's.
  static RowFormat format(const AttentionSpec& spec, RowType rows);
  // Why such rows cannot serve a layer, or "".
  static std::string refusal(const AttentionSpec& spec, RowType rows);
  // What they take, and what their rounding costs.
  static Fit fit_of(const AttentionSpec& spec, RowType rows);

 private:
  PlaneRows project(std::span<const Slice> /*slices*/, ConstMatrix x,
                    StepScratch& /*scratch*/) final {
    return {x};
  }
  void attend(const Block& block, StepScratch& scratch) final;

  RowFormat format_;
  LinearWeights absorbed_;  // [H*D, C]: W_K by heads, transposed
};

}  // namespace slim
