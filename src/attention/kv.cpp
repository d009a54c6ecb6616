// kv: the standard cache. A token leaves its keys and its values, 2 G C numbers; every kind is
// measured against it, and it fits where no other does.
//   heads_i = softmax(scale * q_i K_i^T) V_i
#include <fmt/format.h>

#include "attention/kinds.h"
#include "attention/projected_attention.h"
#include "attention/row_fit.h"

namespace slim {
namespace {

RowFormat key_rows(const AttentionSpec& spec, DType rows) {
  return {rows, spec.key_heads * spec.head_width};
}

class KvAttention final : public ProjectedAttention {
 public:
  KvAttention(const AttentionSpec& spec, const AttentionWeights& weights, DType rows,
              Kernels& kernels)
      : ProjectedAttention(spec, weights, kernels, 0), format_(key_rows(spec, rows)) {}

  std::vector<RowFormat> rows() const override { return {format_, format_}; }

  void store(const AttentionStep& step, ConstMatrix x) override {
    store_projected(step, x, weights().k, weights().k.bias, 0);
    store_projected(step, x, weights().v, weights().v.bias, 1);
  }

 private:
  void attend(const Block& block, StepScratch& /*scratch*/) override {
    kernels().attend_pair(over(block, 0, 1));
  }

  RowFormat format_;
};

class KvScheme final : public Scheme {
 public:
  std::string_view name() const override { return "kv"; }

  Fit fit(const AttentionSpec& spec, const Conditioning& /*conditioning*/,
          DType rows) const override {
    if (std::string why = refusal(spec, rows); !why.empty()) return refused(std::move(why));
    const RowFormat format = key_rows(spec, rows);
    return {.possible = true,
            .reason = fmt::format("keys and values are stored, {} numbers each", format.width),
            .bytes_per_token = 2 * format.bytes(),
            .predicted_error = unit_roundoff(rows)};
  }

  std::unique_ptr<Attention> build(const AttentionSpec& spec, const AttentionWeights& weights,
                                   DType rows, Kernels& kernels) const override {
    require_buildable(refusal(spec, rows), name());
    return std::make_unique<KvAttention>(spec, weights, rows, kernels);
  }

 private:
  static std::string refusal(const AttentionSpec& spec, DType rows) {
    if (spec.rotary) return "rotary keys come with the language models";
    return refuse_format(key_rows(spec, rows));
  }
};

}  // namespace

const Scheme& kv_kind() {
  static const KvScheme kind;
  return kind;
}

}  // namespace slim
