// The projections around every kind, block by block.
#include "attention/projected_attention.h"

#include <algorithm>

#include "attention/blocks.h"
#include "base/check.h"

namespace slim {
namespace {

// 64 MiB of scratch a block: 327 tokens of Whisper large (20 heads over rows of 1280), where the
// products have long reached their full speed.
constexpr int64_t kBlockFloats = int64_t{1} << 24;

bool is_matrix(const Tensor& weight, int64_t outputs) {
  return weight.shape().size() == 2 && weight.size(0) == outputs;
}

bool is_bias(const Tensor& bias, int64_t outputs) {
  return bias.empty() || (bias.type() == DType::f32 && bias.elements() == outputs);
}

void check_shapes(const AttentionSpec& spec, const AttentionWeights& weights) {
  const int64_t queries = spec.heads * spec.head_width;
  const int64_t keys = spec.key_heads * spec.head_width;
  check(is_matrix(weights.q, queries) && is_bias(weights.q.bias, queries), "W_Q is [H*C, D]");
  check(is_matrix(weights.k, keys) && is_bias(weights.k.bias, keys), "W_K is [G*C, D]");
  check(is_matrix(weights.v, keys) && is_bias(weights.v.bias, keys), "W_V is [G*C, D]");
  check(weights.k.size(1) == spec.width && weights.v.size(1) == spec.width,
        "keys and values come from rows of the layer's width");
  check(weights.out.shape().size() == 2 && weights.out.size(1) == queries &&
            is_bias(weights.out.bias, weights.out.size(0)),
        "W_O is [D, H*C]");
}

}  // namespace

ProjectedAttention::ProjectedAttention(const AttentionSpec& spec, const AttentionWeights& weights,
                                       Kernels& kernels, int64_t floats_per_token)
    : spec_(spec), weights_(weights), kernels_(kernels) {
  check_shapes(spec, weights);
  const int64_t queries_and_heads = 2 * spec.heads * spec.head_width;
  block_tokens_ = std::max<int64_t>(1, kBlockFloats / (floats_per_token + queries_and_heads));
}

void ProjectedAttention::forward(const AttentionStep& step, ConstMatrix x, Matrix out) {
  if (x.rows == 0) return;
  if (!spec_.cross) store(step, x);
  const int64_t width = spec_.heads * spec_.head_width;
  for_blocks(step.slices, x.rows, block_tokens_, spec_.causal,
             [&](int64_t first, int64_t count, std::span<const Slice> slices) {
               StepScratch scratch(kernels_.device());
               const Matrix queries = scratch.matrix(count, width);
               const Matrix heads = scratch.matrix(count, width);
               kernels_.linear({.x = x.rows_from(first, count),
                                .weight = weights_.q.matrix(),
                                .bias = bias_of(weights_.q.bias),
                                .y = queries});
               attend({slices, queries, heads}, scratch);
               kernels_.linear({.x = heads,
                                .weight = weights_.out.matrix(),
                                .bias = bias_of(weights_.out.bias),
                                .y = out.rows_from(first, count),
                                .accumulate = true});
             });
}

void ProjectedAttention::store_plane(const AttentionStep& step, ConstMatrix rows, size_t index) {
  kernels_.store_rows({.x = rows, .plane = plane(index), .slices = step.slices});
}

void ProjectedAttention::store_projected(const AttentionStep& step, ConstMatrix x,
                                         const Tensor& weight, const Tensor& bias, size_t index) {
  if (x.rows == 0) return;
  StepScratch scratch(kernels_.device());
  const Matrix rows = scratch.matrix(x.rows, weight.size(0));
  kernels_.linear({.x = x, .weight = weight.matrix(), .bias = bias_of(bias), .y = rows});
  store_plane(step, rows, index);
}

Attend ProjectedAttention::over(const Block& block, size_t key_plane, size_t value_plane) const {
  return {.queries = block.queries,
          .mixed = block.heads,
          .slices = block.slices,
          .keys = plane(key_plane),
          .values = plane(value_plane),
          .heads = spec_.heads,
          .key_width = spec_.head_width,
          .key_stride = spec_.head_width,
          .value_width = spec_.head_width,
          .value_stride = spec_.head_width,
          .heads_per_key = spec_.heads / spec_.key_heads,
          .scale = spec_.scale,
          .causal = spec_.causal};
}

const float* ProjectedAttention::bias_of(const Tensor& bias) {
  return bias.empty() ? nullptr : bias.values<float>();
}

const Plane& ProjectedAttention::plane(size_t index) const {
  check(index < planes().size(), "the planes were placed");
  return planes()[index];
}

}  // namespace slim
