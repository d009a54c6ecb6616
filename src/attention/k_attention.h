// KAttention: the K-cache. A token leaves its key and no value: with M = W_K^-1 W_V, V = K M.
//   stored     [x W_K, x U_r]: the key without its bias, before any norm, and r spill columns
//   score      the key of a head, with gain, bias and rotation put on while it is read
//   V          K M_r + z B   (z: the spill columns; B = U_r^T W_V; exact for every r)
// Two ways to the values, by the number of queries:
//   fused      m_i = softmax(...) [K, z] over whole rows;  heads_i = m_i [M_r,i; B_i] + b_V,i
//              H e multiply-adds per cached row and query
//   rebuilt    V of a few pages at a time, then attention as in kv
//              e^2 per cached row, however many queries
#pragma once

#include "attention/projected_attention.h"

namespace slim {

class ScratchPages;

class KAttention final : public ProjectedAttention {
 public:
  KAttention(const AttentionSpec& spec, const AttentionWeights& weights, const RowChoice& rows,
             Kernels& kernels);

  std::vector<RowFormat> rows() const override;
  int64_t derived_bytes() const override;
  // Without the shaping of rounding, which is read once a page.
  int64_t step_weight_bytes() const override;

  // How keys and spill columns are stored.
  static RowFormat format(const AttentionSpec& spec, const RowChoice& rows);

 private:
  PlaneRows project(std::span<const Slice> slices, ConstMatrix x, StepScratch& scratch) override;
  void attend(const Block& block, StepScratch& scratch) override;
  const Shaping* shaping(size_t plane) const override;
  bool rebuilds(const Slice& slice) const override;
  void attend_rebuilt(const Block& block, StepScratch& scratch) override;

  int64_t keys() const { return spec().heads * spec().head_width; }  // e
  int64_t width() const { return keys() + spill_; }                  // of a stored row
  bool normed() const { return spec().key_norm == KeyNorm::row; }
  // [key, spill] of each x; and what the norm of its key divides by, or no rows.
  void project_rows(ConstMatrix x, Matrix rows) const;
  Matrix project_factors(ConstMatrix keys, StepScratch& scratch) const;
  // An Attend that reads stored rows as keys.
  Attend over_keys(const Block& block) const;
  // values = [K, z] [M; B] + b_V
  void rebuild_values(ConstMatrix rows, Matrix values) const;
  // The block's queries over the rows of their own pages, which it stores and seals; and over the
  // sealed pages before.
  void attend_own_pages(const Block& block, Attend pair);
  void store_own_pages(const Slice& slice, const ScratchPages& pages, ConstMatrix factors);
  void attend_earlier_pages(const Slice& slice, Attend pair);

  RowFormat format_;
  int64_t spill_;  // r
  DerivedWeights derived_;
  int64_t derived_bytes_;  // of what the model's file did not hold
  LinearWeights keys_;     // W_K without bias
  Tensor key_bias_;        // put on while reading; gain included
  Shaping shaping_;
};

}  // namespace slim
