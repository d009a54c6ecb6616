// Absorbed queries over whole rows, shared by x and encoder.
#include "attention/input_rows.h"

#include <fmt/format.h>

#include "attention/row_fit.h"
#include "transforms/value_map.h"

namespace slim {

InputRowsAttention::InputRowsAttention(const AttentionSpec& spec, const AttentionWeights& weights,
                                       DType rows, Kernels& kernels)
    : ProjectedAttention(spec, weights, kernels, 2 * spec.heads * spec.width),
      format_{rows, spec.width},
      absorbed_(absorb_key(weights.k, spec.heads)) {}

std::string InputRowsAttention::refusal(const AttentionSpec& spec, DType rows) {
  if (spec.rotary) {
    return "positions rotate the keys of this layer, so W_K cannot be absorbed into its queries";
  }
  if (spec.key_heads != spec.heads) {
    return fmt::format(
        "its {} query heads share {} key heads, which leaves little for whole rows to save",
        spec.heads, spec.key_heads);
  }
  return refuse_format({rows, spec.width});
}

void InputRowsAttention::attend(const Block& block, StepScratch& scratch) {
  const int64_t heads = spec().heads;
  const int64_t width = spec().width;
  const Matrix queries = scratch.matrix(block.queries.rows, heads * width);
  const Matrix mixed = scratch.matrix(block.queries.rows, heads * width);
  kernels().grouped_linear(
      {.x = block.queries, .weight = absorbed_.matrix(), .y = queries, .groups = heads});
  Attend whole_rows = over(block, 0, 0);
  whole_rows.queries = queries;
  whole_rows.mixed = mixed;
  whole_rows.key_width = whole_rows.value_width = width;
  whole_rows.key_stride = whole_rows.value_stride = 0;
  kernels().attend_shared(whole_rows);
  kernels().grouped_linear({.x = mixed,
                            .weight = weights().v.matrix(),
                            .bias = bias_of(weights().v.bias),
                            .y = block.heads,
                            .groups = heads});
}

}  // namespace slim
