// Absorbed queries over whole rows, shared by x and encoder.
#include "attention/input_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <vector>

#include "attention/row_fit.h"
#include "attention/weights.h"
#include "transforms/value_map.h"

namespace slim {

namespace {

// Whether the scales of W_K, which are of its outputs, can go to the queries that meet them.
bool keeps_bytes(const AttentionWeights& weights) {
  return weights.k.weight.type() == DType::i8 && !weights.q.scale.empty();
}

Tensor scaled(const Tensor& vector, const Tensor& by) {
  if (vector.empty()) return vector;
  Tensor product = Tensor::allocate(host_device(), DType::f32, {vector.elements()});
  std::transform(vector.values<float>(), vector.values<float>() + vector.elements(),
                 by.values<float>(), product.writable<float>(), std::multiplies<>());
  return product;
}

AttentionWeights with_scaled_queries(AttentionWeights weights) {
  if (!keeps_bytes(weights)) return weights;
  weights.q.scale = scaled(weights.q.scale, weights.k.scale);
  weights.q.bias = scaled(weights.q.bias, weights.k.scale);
  return weights;
}

// Where other inputs are rounded to 8 bits, queries and mixtures are to 16. With queries in 8 the
// KL of Whisper in int8 was a fifth larger, and a step of 64 texts no faster; with mixtures, whose
// rounding nothing averages out, a third and more, and a step some 4 % faster.
Inputs finer(Inputs inputs) { return inputs == Inputs::i8 ? Inputs::i16 : inputs; }

LinearWeights absorbed_key(const AttentionWeights& weights, int64_t heads) {
  if (!keeps_bytes(weights)) return {absorb_key(compact_weight(weights.k), heads), {}, {}};
  const Tensor bytes = absorb_key(weights.k.weight, heads);
  const std::vector<float> ones(static_cast<size_t>(bytes.size(0)), 1.0F);
  const bool rounded = finer(weights.k.inputs) == Inputs::i16;
  return {bytes, Tensor::from(ones, {bytes.size(0)}), {}, rounded ? Inputs::i16 : Inputs::f32};
}

}  // namespace

InputRowsAttention::InputRowsAttention(const AttentionSpec& spec, const AttentionWeights& weights,
                                       RowType rows, Kernels& kernels)
    : ProjectedAttention(spec, with_scaled_queries(weights), kernels, 2 * spec.heads * spec.width,
                         {.keys = false}),
      format_(format(spec, rows)),
      absorbed_(on(kernels.device(), absorbed_key(weights, spec.heads))) {
  require_rows(format_, kernels);
}

RowFormat InputRowsAttention::format(const AttentionSpec& spec, RowType rows) {
  const bool alone = spec.cross || rows == RowType::i16 || rows == RowType::i8;
  if (alone) return standing_format(rows, spec.width);
  return sealed_format(rows, spec.width, Scaling::channel);
}

std::string InputRowsAttention::refusal(const AttentionSpec& spec, RowType rows) {
  if (spec.rotary) {
    return "positions rotate the keys of this layer, so W_K cannot be absorbed into its queries";
  }
  if (spec.key_heads != spec.heads) {
    return fmt::format(
        "its {} query heads share {} key heads, which leaves little for whole rows to save",
        spec.heads, spec.key_heads);
  }
  if (spec.clip > 0.0F)
    return "its keys and values are clamped, so no product gives them from rows";
  if (spec.key_norm != KeyNorm::none) {
    return "its keys are normed, so W_K cannot be absorbed into its queries";
  }
  if (spec.cap != 0.0F && spec.key_bias) {
    return "its scores are capped, so that the bias of its keys does not cancel";
  }
  return refuse_format(rows, format(spec, rows));
}

Fit InputRowsAttention::fit_of(const AttentionSpec& spec, RowType rows) {
  const RowFormat stored = format(spec, rows);
  Fit fit;
  fit.possible = true;
  fit.bytes_per_token = token_bytes(stored);
  fit.hot_bytes_per_token = hot_token_bytes(stored);
  fit.shared_rows = spec.cross;
  fit.predicted_error = unit_roundoff(rows, stored);
  return fit;
}

void InputRowsAttention::attend(const Block& block, StepScratch& scratch) {
  const int64_t heads = spec().heads;
  const int64_t width = spec().width;
  const Matrix queries = scratch.matrix(block.queries.rows, heads * width);
  const Matrix mixed = scratch.matrix(block.queries.rows, heads * width);
  kernels().grouped_linear({.x = block.queries,
                            .weight = absorbed_.weight.matrix(),
                            .scale = values_or_null(absorbed_.scale),
                            .y = queries,
                            .groups = heads,
                            .inputs = absorbed_.inputs});
  Attend whole_rows = over(block);
  whole_rows.queries = queries;
  whole_rows.mixed = mixed;
  whole_rows.key_width = whole_rows.value_width = width;
  whole_rows.key_stride = whole_rows.value_stride = 0;
  read(block, whole_rows, {.shared = true}, scratch);
  kernels().grouped_linear({.x = mixed,
                            .weight = weights().v.weight.matrix(),
                            .scale = values_or_null(weights().v.scale),
                            .bias = values_or_null(weights().v.bias),
                            .y = block.heads,
                            .groups = heads,
                            .inputs = finer(weights().v.inputs)});
}

}  // namespace slim
