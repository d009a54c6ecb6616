// k: keys alone, from which values are computed (k_attention.h). M multiplies the rounding of K by
// up to cond(W_K), which trained models have at 1e3 to 1e9. So rows are f32, or fixed point in
// sealed pages with spill columns for the directions that M would amplify most; never 16-bit
// floats.
#include <fmt/format.h>

#include <limits>

#include "attention/k_attention.h"
#include "attention/kinds.h"
#include "attention/row_fit.h"

namespace slim {
namespace {

class KScheme final : public Scheme {
 public:
  std::string_view name() const override { return "k"; }

  Fit fit(const AttentionSpec& spec, const Conditioning& conditioning,
          const RowChoice& rows) const override {
    const std::optional<double> condition = conditioning.condition_k;
    std::string why = refusal(spec, rows);
    if (why.empty() && condition && *condition * std::numeric_limits<double>::epsilon() >= 1) {
      why = "W_K is singular to double precision, so values cannot be computed from keys";
    }
    if (!why.empty()) return refused(std::move(why));
    const RowFormat stored = KAttention::format(spec, rows);
    Fit fit;
    fit.possible = rows.type != RowType::f16 && rows.type != RowType::bf16;
    fit.bytes_per_token = token_bytes(stored);
    fit.hot_bytes_per_token = hot_token_bytes(stored);
    if (spec.key_norm == KeyNorm::row) {
      fit.bytes_per_token += int64_t{sizeof(float)};
      if (stored.sealed()) fit.hot_bytes_per_token += int64_t{sizeof(float)};
    }
    if (condition) fit.predicted_error = unit_roundoff(rows.type) * *condition;
    fit.reason = describe(rows, fit, condition);
    return fit;
  }

  std::unique_ptr<Attention> build(const AttentionSpec& spec, const AttentionWeights& weights,
                                   const RowChoice& rows, Kernels& kernels) const override {
    require_buildable(refusal(spec, rows), name());
    return std::make_unique<KAttention>(spec, weights, rows, kernels);
  }

 private:
  // What build() cannot do, whatever error is accepted.
  static std::string refusal(const AttentionSpec& spec, const RowChoice& rows) {
    const int64_t keys = spec.heads * spec.head_width;
    if (spec.key_heads != spec.heads) {
      return fmt::format("its {} query heads share {} key heads, so W_K has no inverse", spec.heads,
                         spec.key_heads);
    }
    if (keys != spec.width) {
      return fmt::format("W_K is {} x {}, and only a square matrix has an inverse", spec.width,
                         keys);
    }
    if (spec.clip > 0.0F) {
      return "its keys and values are clamped, so values are no product of keys";
    }
    if (spec.key_norm == KeyNorm::head) {
      return "each of its heads has a norm over its keys, which cannot be put on while reading";
    }
    if (spec.key_norm == KeyNorm::row && (spec.key_norm_kind != NormKind::rms || spec.key_bias)) {
      return "the norm of its keys subtracts a mean or follows a bias, which reading cannot do";
    }
    return refuse_format(rows.type, KAttention::format(spec, rows));
  }

  static std::string describe(const RowChoice& rows, const Fit& fit,
                              std::optional<double> condition) {
    const std::string amplified =
        condition ? fmt::format("cond(W_K) = {}, a relative error of up to {}",
                                scientific(*condition), scientific(*fit.predicted_error))
                  : "cond(W_K), unknown here and 1e+03 to 1e+09 in trained models";
    return fmt::format("k in {} rows multiplies their rounding ({}) by {}", name_of(rows.type),
                       scientific(unit_roundoff(rows.type)), amplified);
  }
};

}  // namespace

const Scheme& k_kind() {
  static const KScheme kind;
  return kind;
}

}  // namespace slim
