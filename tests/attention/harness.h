// One attention layer of any kind, run as the engine runs it: pages, slices, steps. Tests give the
// same inputs to a kind under test and to kv in f32 on the reference kernels, and compare.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "attention/pages.h"
#include "attention/scheme.h"

namespace slim::testing {

// Normal numbers, `spread` wide.
Tensor random_tensor(std::vector<int64_t> shape, uint32_t seed, float spread = 1.0F);

// Weights that keep a normed input's size, so that scores are of order one. W_K, where square, is
// the identity plus noise: its condition number is below 10.
AttentionWeights random_weights(const AttentionSpec& spec, bool biases, uint32_t seed);

// Sizes of the chunks that a sequence is fed in: called for each until all rows are in.
using Chunking = std::function<int64_t()>;
Chunking all_at_once();
Chunking token_by_token();
Chunking chunks_of(int64_t size);
Chunking mixed_chunks(uint32_t seed);  // 1 to 40

class Layer {
 public:
  Layer(const Scheme& scheme, const AttentionSpec& spec, const AttentionWeights& weights,
        const RowChoice& rows, Kernels& kernels);

  // Appends x [T, D] to a sequence; returns the layer's output [T, D].
  Tensor append(PageTable& table, const Tensor& x);
  // Runs several sequences together from their first token; every step takes a chunk of each one
  // that is not done. Outputs as one [T, D] each.
  std::vector<Tensor> run(const std::vector<Tensor>& inputs, const Chunking& chunk);
  // Stores encoder rows, and lets all queries of each window attend them as one slice.
  std::vector<Tensor> run_cross(const std::vector<Tensor>& encoded,
                                const std::vector<Tensor>& queries);

  // Goes back to `rows` rows, as Model::truncate does.
  void truncate(PageTable& table, int64_t rows);

  PageTable new_table() { return PageTable(*pool_, hot_pool_.get(), only_sealed_); }
  Attention& attention() { return *attention_; }
  // Gives back pages that no table holds.
  void trim();
  // The bytes of the layer's planes in a page.
  std::vector<std::byte> page_bytes(const PageTable& table, int64_t page) const;

 private:
  PageTable store(const Tensor& encoded);
  // The attention of x, which the device is given a copy of, over the slices.
  Tensor forward(std::span<const Slice> slices, const Tensor& x);

  Kernels& kernels_;
  std::unique_ptr<Attention> attention_;
  std::unique_ptr<PagePool> pool_;
  std::unique_ptr<PagePool> hot_pool_;  // none if nothing is sealed
  bool only_sealed_ = false;
};

// |a - b| / |b| over all numbers of all tensors (Frobenius); NaN if any is NaN.
double relative_error(const std::vector<Tensor>& a, const std::vector<Tensor>& b);

}  // namespace slim::testing
