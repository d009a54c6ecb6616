// WeightReader: takes the tensors of a model out of a checkpoint by canonical name and shape,
// remembers which, and counts their bytes. Matrices stay in the file's type, mapped; vectors are
// f32. What is packed in the file is split by rows: in place where they lie together, copied once
// where they do not.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "attention/scheme.h"
#include "models/blocks.h"
#include "models/spec.h"
#include "weights/checkpoint.h"

namespace slim {

class WeightReader {
 public:
  explicit WeightReader(const Checkpoint& checkpoint) : checkpoint_(checkpoint) {}

  bool has(const std::string& name) const { return checkpoint_.has(name); }
  // As used: a tensor under two names once, vectors as f32.
  int64_t bytes() const noexcept { return bytes_; }

  // A table of positions or the like, in place: f32, f16 or bf16.
  Tensor table(const std::string& name, const std::vector<int64_t>& shape);
  // <name>.weight, a table of embeddings, in place, of any type but i16, and its .scale if that is
  // i8.
  LinearWeights embedding(const std::string& name, int64_t rows, int64_t columns);
  // <name>.weight of any weight type, its .scale if that is i8 or i16, and its .bias if wanted.
  // `inputs_first`: the file holds the transpose, which is copied.
  LinearWeights linear(const std::string& name, int64_t outputs, int64_t inputs, bool bias,
                       bool inputs_first = false);
  // Taps first: [outputs, taps * inputs] from [outputs, inputs, taps].
  LinearWeights convolution(const std::string& name, int64_t outputs, int64_t inputs,
                            int64_t taps = 3, bool bias = true);
  // <name>.weight and .bias as the spec says.
  NormWeights norm(const std::string& name, int64_t width, const NormSpec& spec);
  // The norm of a branch (self, cross, mlp): <name>.norm, or .post_norm where it comes after.
  NormWeights branch_norm(const std::string& name, const StackSpec& stack);
  AttentionWeights attention(const std::string& name, const StackSpec& stack);
  // With its norm, unless the layer's branches share one.
  MlpWeights mlp(const std::string& name, const StackSpec& stack);

  // In f32. A matrix of one row is a vector, too.
  Tensor vector(const std::string& name, int64_t size);

  // Throws Error{bad_file} if the checkpoint holds a tensor that was not taken.
  void finish() const;

 private:
  // Throws unless the type is one of those.
  const Tensor& take(const std::string& name, const std::vector<int64_t>& shape,
                     const std::vector<DType>& types);
  Tensor matrix(const std::string& name, const std::vector<int64_t>& shape,
                const std::vector<DType>& types);
  void read_projections(const std::string& name, const StackSpec& stack, AttentionWeights& weights);
  void drop_key_bias(const std::string& name, AttentionWeights& weights);
  void read_key_norms(const std::string& name, const StackSpec& stack, AttentionWeights& weights);
  DerivedWeights derived(const std::string& name, const StackSpec& stack);

  const Checkpoint& checkpoint_;
  std::set<std::string, std::less<>> taken_;
  std::set<const std::byte*> counted_;
  int64_t bytes_ = 0;
};

}  // namespace slim
