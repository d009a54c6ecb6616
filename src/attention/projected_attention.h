// ProjectedAttention: what the kinds have in common. Queries are projected before, heads after:
//   q = norm(clip(x W_Q + b_Q));   heads = attention of q over stored rows, by the kind;
//   out += heads W_O + b_O
// A kind says what rows x leaves behind, and turns queries [T, H*C] into heads [T, H*C]. Whether
// its rows stand alone or are sealed is decided here, by their formats.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "attention/scheme.h"
#include "attention/step_scratch.h"

namespace slim {

class ProjectedAttention : public Attention {
 public:
  void store(const AttentionStep& step, ConstMatrix x) final;
  void forward(const AttentionStep& step, ConstMatrix x, Matrix out) final;

 protected:
  // Part of a step: every token of its matrices is in one of `slices`.
  struct Block {
    std::span<const Slice> slices;
    ConstMatrix x;                       // [T, D] f32
    Matrix queries;                      // [T, H*C] f32, not turned
    Matrix heads;                        // [T, H*C] f32, to be written
    const HeadScores* scores = nullptr;  // of the whole step, or null
    int64_t first = 0;                   // the block's first token in the step
  };
  // Which planes an Attend reads.
  struct Reading {
    size_t keys = 0;
    size_t values = 0;
    std::optional<size_t> factors = {};
    bool shared = false;  // keys and values are the same rows
  };

  // The weights that its kernels read: W_Q and W_O always, of W_K and W_V those the kind uses.
  struct Reads {
    bool keys = true;
    bool values = true;
  };

  // `floats_per_token`: scratch that project() and attend() take for each token.
  ProjectedAttention(const AttentionSpec& spec, const AttentionWeights& weights, Kernels& kernels,
                     int64_t floats_per_token, Reads reads);

  // The rows that x leaves behind, [T, width] f32 for each plane of rows(): one or two.
  using PlaneRows = std::array<ConstMatrix, 2>;
  virtual PlaneRows project(std::span<const Slice> slices, ConstMatrix x, StepScratch& scratch) = 0;
  virtual void attend(const Block& block, StepScratch& scratch) = 0;
  // How the sealing of a plane shares out its rounding errors; null: plainly.
  virtual const Shaping* shaping(size_t /*plane*/) const { return nullptr; }
  // Whether a slice is one of many queries that attend_rebuilt() serves better: it alone, in blocks
  // of `kRebuiltTokens`. The kind then stores and seals its rows itself.
  virtual bool rebuilds(const Slice& /*slice*/) const { return false; }
  virtual void attend_rebuilt(const Block& /*block*/, StepScratch& /*scratch*/) {}

  // Runs an Attend over stored rows; where planes are sealed, stores the block's rows first.
  void read(const Block& block, Attend attend, const Reading& reading, StepScratch& scratch);
  // An Attend with all that the layer's spec says; a kind sets what it does otherwise.
  Attend over(const Block& block) const;

  // x through a linear layer, clipped if the layer clips: [T, outputs] in scratch, or into y.
  Matrix project_by(const LinearWeights& weights, ConstMatrix x, StepScratch& scratch) const;
  void project_into(const LinearWeights& weights, ConstMatrix x, Matrix y) const;
  // The layer's norm of queries or keys, in place.
  void normalise(Matrix rows, const Tensor& gain, const Tensor& offset, int64_t heads) const;
  // Turns rows of heads to the positions of their tokens, in place.
  void turn(std::span<const Slice> slices, Matrix rows) const;

  // Of W_Q, its norm, W_O and biases by distance.
  int64_t projection_bytes() const;
  bool seals() const noexcept;
  const AttentionSpec& spec() const noexcept { return spec_; }
  // In the device's memory; biases and gains all, matrices that are not read are empty.
  const AttentionWeights& weights() const noexcept { return weights_; }
  Kernels& kernels() const noexcept { return kernels_; }
  // By regime, as Attend takes them; empty without rotation.
  std::span<const Rotation* const> rotations() const noexcept { return rotations_; }

 private:
  void run(const AttentionStep& step, bool rebuilt, ConstMatrix x, Matrix out);
  // From the queries and rows that the kernels are given, whatever the kind makes of them.
  void write_scores(const Block& block, const Attend& attend, StepScratch& scratch) const;

  AttentionSpec spec_;
  Kernels& kernels_;
  AttentionWeights weights_;
  Tensor slopes_;  // [H] f32, or empty
  int64_t block_tokens_;
  std::vector<const Rotation*> rotations_;
};

// Pointers into optional vectors of f32, and the product that a linear layer's weights ask for.
const float* values_or_null(const Tensor& vector);
Linear product_of(ConstMatrix x, const LinearWeights& weights, Matrix y);

}  // namespace slim
