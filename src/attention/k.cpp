// k: the keys alone, without bias. With W_K square, M = W_K^-1 W_V gives values from keys:
//   m_i = softmax(scale * q_i K_i^T) K   (whole rows);   heads_i = m_i M_i + b_V,i
// b_K adds the same to all scores of a query and cancels. M multiplies the rounding of K by up to
// cond(W_K), which trained models have at 1e3 to 1e9: only f32 rows are sound.
#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "attention/kinds.h"
#include "attention/projected_attention.h"
#include "attention/row_fit.h"
#include "transforms/value_map.h"

namespace slim {
namespace {

class KAttention final : public ProjectedAttention {
 public:
  KAttention(const AttentionSpec& spec, const AttentionWeights& weights, DType rows,
             Kernels& kernels)
      : ProjectedAttention(spec, weights, kernels, spec.heads * spec.width),
        format_{rows, spec.width},
        map_(value_map(weights.k, weights.v)) {}

  std::vector<RowFormat> rows() const override { return {format_}; }
  int64_t derived_bytes() const override { return map_.bytes(); }

  void store(const AttentionStep& step, ConstMatrix x) override {
    store_projected(step, x, weights().k, {}, 0);
  }

 private:
  void attend(const Block& block, StepScratch& scratch) override {
    const Matrix mixed = scratch.matrix(block.queries.rows, spec().heads * spec().width);
    Attend shared = over(block, 0, 0);
    shared.mixed = mixed;
    shared.value_width = spec().width;
    shared.value_stride = 0;
    kernels().attend_shared(shared);
    kernels().grouped_linear({.x = mixed,
                              .weight = map_.matrix(),
                              .bias = bias_of(weights().v.bias),
                              .y = block.heads,
                              .groups = spec().heads});
  }

  RowFormat format_;
  Tensor map_;  // M^T [e, e] f32
};

class KScheme final : public Scheme {
 public:
  std::string_view name() const override { return "k"; }

  Fit fit(const AttentionSpec& spec, const Conditioning& conditioning, DType rows) const override {
    const std::optional<double> condition = conditioning.condition_k;
    std::string why = refusal(spec, rows);
    if (why.empty() && condition && *condition * std::numeric_limits<double>::epsilon() >= 1) {
      why = "W_K is singular to double precision, so values cannot be computed from keys";
    }
    if (!why.empty()) return refused(std::move(why));
    Fit fit;
    fit.possible = rows == DType::f32;
    fit.bytes_per_token = RowFormat{rows, spec.width}.bytes();
    if (condition) fit.predicted_error = unit_roundoff(rows) * *condition;
    fit.reason = describe(rows, fit, condition);
    return fit;
  }

  std::unique_ptr<Attention> build(const AttentionSpec& spec, const AttentionWeights& weights,
                                   DType rows, Kernels& kernels) const override {
    require_buildable(refusal(spec, rows), name());
    return std::make_unique<KAttention>(spec, weights, rows, kernels);
  }

 private:
  // What build() cannot do, whatever error is accepted.
  static std::string refusal(const AttentionSpec& spec, DType rows) {
    if (spec.rotary) return "rotary keys come with the language models";
    if (spec.key_heads != spec.heads) {
      return fmt::format("its {} query heads share {} key heads, so W_K has no inverse", spec.heads,
                         spec.key_heads);
    }
    if (spec.heads * spec.head_width != spec.width) {
      return fmt::format("W_K is {} x {}, and only a square matrix has an inverse", spec.width,
                         spec.heads * spec.head_width);
    }
    return refuse_format({rows, spec.width});
  }

  static std::string describe(DType rows, const Fit& fit, std::optional<double> condition) {
    const std::string amplified =
        condition ? fmt::format("cond(W_K) = {}, a relative error of up to {}",
                                scientific(*condition), scientific(*fit.predicted_error))
                  : "cond(W_K), unknown here and 1e+03 to 1e+09 in trained models";
    return fmt::format("k in {} rows multiplies their rounding ({}) by {}", name_of(rows),
                       scientific(unit_roundoff(rows)), amplified);
  }
};

}  // namespace

const Scheme& k_kind() {
  static const KScheme kind;
  return kind;
}

}  // namespace slim
