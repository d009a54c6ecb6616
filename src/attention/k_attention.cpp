// Storing, and the fused path. The rebuilt path stands in k_rebuilt.cpp.
#include "attention/k_attention.h"

#include "attention/derived.h"
#include "attention/row_fit.h"
#include "attention/weights.h"
#include "base/check.h"

namespace slim {
namespace {

// The bias as scores see it. Without rotation, caps and norms it adds the same to all scores of a
// query, and cancels.
Tensor scored_bias(const AttentionSpec& spec, const Tensor& bias) {
  return spec.rotary || spec.cap != 0.0F ? bias : Tensor();
}

Shaping shaping_of(const DerivedWeights& derived) {
  if (derived.shaping_u.empty()) return {};
  return {
      .width = derived.shaping_u.size(0),
      .rank = derived.shaping_u.size(1),
      .u = derived.shaping_u.values<Half>(),
      .g = derived.shaping_g.values<Half>(),
      .order = derived.shaping_order.empty() ? nullptr : derived.shaping_order.values<int32_t>()};
}

}  // namespace

KAttention::KAttention(const AttentionSpec& spec, const AttentionWeights& weights,
                       const RowChoice& rows, Kernels& kernels)
    : ProjectedAttention(spec, weights, kernels,
                         (spec.heads + 1) * (spec.heads * spec.head_width + rows.spill),
                         {.values = false}),
      format_(format(spec, rows)),
      spill_(rows.spill),
      derived_(on(kernels.device(), weights.derived.value_map.weight.empty()
                                        ? derive_weights(weights, rows)
                                        : weights.derived)),
      derived_bytes_(weights.derived.value_map.weight.empty() ? derived_.bytes() : 0),
      keys_(this->weights().k),
      key_bias_(scored_bias(spec, keys_.bias)),
      shaping_(shaping_of(derived_)) {
  require_rows(format_, kernels);
  keys_.bias = Tensor();
  format_.chunked = kernels.chunked() && format_.sealed() && format_.bits >= 8;
  check(derived_.value_map.weight.size(0) == keys() && derived_.value_map.weight.size(1) == keys(),
        "the value map is [e, e]");
  check(spill_ == 0 || (derived_.spill.size(0) == spill_ && derived_.spill_map.size(1) == spill_),
        "there are as many spill columns as were chosen");
  check(shaping_.rank == 0 || shaping_.width == width(), "rounding is shaped for whole rows");
}

RowFormat KAttention::format(const AttentionSpec& spec, const RowChoice& rows) {
  const int64_t width = spec.heads * spec.head_width + rows.spill;
  if (spec.cross) return standing_format(rows.type, width);
  return sealed_format(rows.type, width, Scaling::channel);
}

std::vector<RowFormat> KAttention::rows() const {
  if (normed()) return {format_, {DType::f32, 1}};
  return {format_};
}

int64_t KAttention::derived_bytes() const { return derived_bytes_; }

int64_t KAttention::step_weight_bytes() const {
  const int64_t stored = spec().cross ? 0 : keys_.bytes() + derived_.spill.bytes();
  const int64_t scored = key_bias_.bytes() + weights().k_gain.bytes();
  const int64_t values =
      derived_.value_map.bytes() + derived_.spill_map.bytes() + weights().v.bias.bytes();
  return projection_bytes() + stored + scored + values;
}

const Shaping* KAttention::shaping(size_t plane) const {
  return plane == 0 && shaping_.rank > 0 ? &shaping_ : nullptr;
}

KAttention::PlaneRows KAttention::project(std::span<const Slice> /*slices*/, ConstMatrix x,
                                          StepScratch& scratch) {
  const Matrix rows = scratch.matrix(x.rows, width());
  project_rows(x, rows);
  if (!normed()) return {rows};
  return {rows, project_factors(rows.columns_from(0, keys()), scratch)};
}

void KAttention::project_rows(ConstMatrix x, Matrix rows) const {
  kernels().linear(product_of(x, keys_, rows.columns_from(0, keys())));
  if (spill_ == 0) return;
  kernels().linear(
      {.x = x, .weight = derived_.spill.matrix(), .y = rows.columns_from(keys(), spill_)});
}

Matrix KAttention::project_factors(ConstMatrix keys, StepScratch& scratch) const {
  const Matrix factors = scratch.matrix(keys.rows, 1);
  Norm norm;
  norm.kind = spec().key_norm_kind;
  norm.x = keys;
  norm.epsilon = spec().key_norm_epsilon;
  norm.y = scratch.matrix(keys.rows, keys.columns);
  norm.inverse = factors.row<float>(0);
  kernels().norm(norm);
  return factors;
}

Attend KAttention::over_keys(const Block& block) const {
  Attend attend = over(block);
  attend.rotations = rotations();
  attend.key_bias = values_or_null(key_bias_);
  attend.key_gain = normed() ? values_or_null(weights().k_gain) : nullptr;
  return attend;
}

void KAttention::attend(const Block& block, StepScratch& scratch) {
  const int64_t heads = spec().heads;
  const Matrix mixed = scratch.matrix(block.queries.rows, heads * width());
  Attend whole_rows = over_keys(block);
  whole_rows.mixed = mixed;
  whole_rows.value_width = width();
  whole_rows.value_stride = 0;
  Reading reading{.shared = true};
  if (normed()) reading.factors = 1;
  read(block, whole_rows, reading, scratch);
  const LinearWeights& map = derived_.value_map;
  kernels().grouped_linear({.x = mixed,
                            .x_stride = spill_ == 0 ? 0 : width(),
                            .weight = map.weight.matrix(),
                            .scale = values_or_null(map.scale),
                            .bias = values_or_null(weights().v.bias),
                            .y = block.heads,
                            .groups = heads});
  if (spill_ == 0) return;
  kernels().grouped_linear({.x = mixed.columns_from(keys(), mixed.columns - keys()),
                            .x_stride = width(),
                            .weight = derived_.spill_map.matrix(),
                            .y = block.heads,
                            .groups = heads,
                            .accumulate = true});
}

}  // namespace slim
