// ProjectedAttention: what the kinds have in common. Queries are projected before, heads after:
//   q = x W_Q + b_Q;   heads = attention of q over stored rows, by the kind;   out += heads W_O +
//   b_O
// A kind stores rows and turns queries [T, H*C] into heads [T, H*C].
#pragma once

#include <cstdint>
#include <span>

#include "attention/scheme.h"
#include "attention/step_scratch.h"

namespace slim {

class ProjectedAttention : public Attention {
 public:
  void forward(const AttentionStep& step, ConstMatrix x, Matrix out) final;

 protected:
  // Part of a step: every token of `queries` and `heads` is in one of `slices`.
  struct Block {
    std::span<const Slice> slices;
    ConstMatrix queries;  // [T, H*C] f32
    Matrix heads;         // [T, H*C] f32, to be written
  };

  // `floats_per_token`: scratch that attend() takes for each token.
  ProjectedAttention(const AttentionSpec& spec, const AttentionWeights& weights, Kernels& kernels,
                     int64_t floats_per_token);

  virtual void attend(const Block& block, StepScratch& scratch) = 0;

  // Encodes rows, or rows projected by a weight, into one of the planes.
  void store_plane(const AttentionStep& step, ConstMatrix rows, size_t plane);
  void store_projected(const AttentionStep& step, ConstMatrix x, const Tensor& weight,
                       const Tensor& bias, size_t plane);
  // An Attend over planes, but for queries, widths and strides.
  Attend over(const Block& block, size_t key_plane, size_t value_plane) const;

  const AttentionSpec& spec() const noexcept { return spec_; }
  const AttentionWeights& weights() const noexcept { return weights_; }
  Kernels& kernels() const noexcept { return kernels_; }
  static const float* bias_of(const Tensor& bias);

 private:
  const Plane& plane(size_t index) const;

  AttentionSpec spec_;
  AttentionWeights weights_;
  Kernels& kernels_;
  int64_t block_tokens_;
};

}  // namespace slim
