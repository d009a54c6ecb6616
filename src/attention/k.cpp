// k: keys alone, from which values are computed (k_attention.h). M multiplies the rounding of K by
// up to cond(W_K), which trained models have at 1e3 to 1e9. So rows are f32, or fixed point in
// sealed pages with spill columns for the directions that M would amplify most; never 16-bit
// floats.
#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "attention/k_attention.h"
#include "attention/k_choices.h"
#include "attention/kinds.h"
#include "attention/row_fit.h"

namespace slim {
namespace {

// A row type that no key survives: 16-bit floats round K by 2^-8 or 2^-11, and M multiplies that.
bool naive(RowType type) { return type == RowType::f16 || type == RowType::bf16; }

std::string columns(const RowChoice& rows) {
  std::string text;
  if (rows.spill > 0) text += fmt::format(", {} spill columns", rows.spill);
  if (rows.rank > 0) text += fmt::format(", rounding shaped by a factor of rank {}", rows.rank);
  return text;
}

class KScheme final : public Scheme {
 public:
  std::string_view name() const override { return "k"; }

  Fit fit(const AttentionSpec& spec, const Conditioning& conditioning,
          const RowChoice& rows) const override {
    std::string why = refusal(spec, rows);
    if (why.empty() && rows.spill == 0 && singular(conditioning)) {
      why = "W_K is singular to double precision, so values cannot be computed from keys alone";
    }
    if (!why.empty()) return refused(std::move(why));
    const RowFormat stored = KAttention::format(spec, rows);
    Fit fit;
    fit.possible = !naive(rows.type);
    fit.bytes_per_token = token_bytes(stored);
    fit.hot_bytes_per_token = hot_token_bytes(stored);
    if (spec.key_norm == KeyNorm::row) {
      fit.bytes_per_token += int64_t{sizeof(float)};
      if (stored.sealed()) fit.hot_bytes_per_token += int64_t{sizeof(float)};
    }
    fit.predicted_error = predict(spec, conditioning, rows);
    if (fit.predicted_error && !std::isfinite(*fit.predicted_error)) {
      return refused(fmt::format(
          "W_K has more than {} directions that values cannot be computed from", rows.spill));
    }
    fit.reason = naive(rows.type) ? describe_naive(spec, rows, conditioning)
                                  : describe(spec, rows, conditioning, fit);
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
    if (keys < spec.width) {
      return fmt::format("W_K is {} x {}, so keys hold less than the inputs they come from",
                         spec.width, keys);
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
    if (rows.spill < 0 || rows.spill > keys) {
      return fmt::format("{} spill columns are more than the {} of a key", rows.spill, keys);
    }
    return refuse_format(rows.type, KAttention::format(spec, rows));
  }

  static bool singular(const Conditioning& known) {
    return known.condition_k && *known.condition_k * std::numeric_limits<double>::epsilon() >= 1;
  }

  // In terms of other kinds, whose error is the unit roundoff of their rows. Nothing more is known
  // than the worst case where the transforms have not looked.
  static std::optional<double> predict(const AttentionSpec& spec, const Conditioning& known,
                                       const RowChoice& rows) {
    for (const KeyError& key : known.key_errors) {
      if (key.rows == rows) return key.error * unit_roundoff(RowType::bf16);
    }
    if (!known.condition_k || rows.spill > 0 || rows.rank > 0) return std::nullopt;
    return unit_roundoff(rows.type, KAttention::format(spec, rows)) * *known.condition_k;
  }

  static std::string describe(const AttentionSpec& spec, const RowChoice& rows,
                              const Conditioning& known, const Fit& fit) {
    std::string text = fmt::format("keys alone, {} numbers in {}{}", spec.heads * spec.head_width,
                                   name_of(rows.type), columns(rows));
    if (known.condition_k) text += fmt::format("; cond(W_K) = {}", scientific(*known.condition_k));
    if (!fit.predicted_error) return text + "; error not known without the weights";
    return text + fmt::format("; predicted error {:.2g} of that of kv in bf16",
                              *fit.predicted_error / unit_roundoff(RowType::bf16));
  }

  static std::string describe_naive(const AttentionSpec& spec, const RowChoice& rows,
                                    const Conditioning& known) {
    const double rounding = unit_roundoff(rows.type, KAttention::format(spec, rows));
    const std::string amplified =
        known.condition_k
            ? fmt::format("cond(W_K) = {}, a relative error of up to {}",
                          scientific(*known.condition_k), scientific(rounding * *known.condition_k))
            : "cond(W_K), unknown here and 1e+03 to 1e+09 in trained models";
    return fmt::format("k in {} rows multiplies their rounding ({}) by {}", name_of(rows.type),
                       scientific(rounding), amplified);
  }
};

}  // namespace

const Scheme& k_kind() {
  static const KScheme kind;
  return kind;
}

std::vector<RowChoice> key_choices() {
  std::vector<RowChoice> choices;
  for (const RowType type : {RowType::i4, RowType::i5, RowType::i6, RowType::i8, RowType::i10,
                             RowType::i12, RowType::i16}) {
    choices.push_back({type, 0, 0});
    for (const int64_t spill : {8, 16, 32}) {
      for (const int64_t rank : {0, 64}) choices.push_back({type, spill, rank});
    }
  }
  return choices;
}

}  // namespace slim
