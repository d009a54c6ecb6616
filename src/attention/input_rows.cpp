// Absorbed queries over whole rows, shared by x and encoder.
#include "attention/input_rows.h"

#include <fmt/format.h>

#include "attention/row_fit.h"
#include "attention/weights.h"
#include "transforms/value_map.h"

namespace slim {

InputRowsAttention::InputRowsAttention(const AttentionSpec& spec, const AttentionWeights& weights,
                                       RowType rows, Kernels& kernels)
    : ProjectedAttention(spec, weights, kernels, 2 * spec.heads * spec.width, {.keys = false}),
      format_(format(spec, rows)),
      absorbed_(absorb_key(compact_weight(weights.k), spec.heads).on(kernels.device())) {}

RowFormat InputRowsAttention::format(const AttentionSpec& spec, RowType rows) {
  if (spec.cross || rows == RowType::i8) return standing_format(rows, spec.width);
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
  fit.predicted_error = unit_roundoff(rows);
  return fit;
}

void InputRowsAttention::attend(const Block& block, StepScratch& scratch) {
  const int64_t heads = spec().heads;
  const int64_t width = spec().width;
  const Matrix queries = scratch.matrix(block.queries.rows, heads * width);
  const Matrix mixed = scratch.matrix(block.queries.rows, heads * width);
  kernels().grouped_linear(
      {.x = block.queries, .weight = absorbed_.matrix(), .y = queries, .groups = heads});
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
                            .inputs = weights().v.inputs});
}

}  // namespace slim
