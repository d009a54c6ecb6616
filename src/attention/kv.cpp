// kv: the standard cache. A token leaves its keys and its values, 2 G C numbers; every kind is
// measured against it, and it fits where no other does.
//   heads_i = softmax(scale * q_i K_i^T) V_i
// Keys that stand alone are stored turned to their positions. Sealed ones are turned on read: a
// channel keeps its range over a page, which its scale lives by, only as long as it is not mixed
// with another one. Values are sealed in groups along a token's row: their channels have no such
// ranges.
#include <fmt/format.h>

#include "attention/kinds.h"
#include "attention/projected_attention.h"
#include "attention/row_fit.h"

namespace slim {
namespace {

struct KvRows {
  RowFormat keys;
  RowFormat values;

  int64_t bytes() const { return token_bytes(keys) + token_bytes(values); }
};

KvRows kv_rows(const AttentionSpec& spec, RowType rows) {
  const int64_t width = spec.key_heads * spec.head_width;
  if (spec.cross) return {standing_format(rows, width), standing_format(rows, width)};
  return {sealed_format(rows, width, Scaling::channel), sealed_format(rows, width, Scaling::group)};
}

class KvAttention final : public ProjectedAttention {
 public:
  KvAttention(const AttentionSpec& spec, const AttentionWeights& weights, RowType rows,
              Kernels& kernels)
      : ProjectedAttention(spec, weights, kernels, 2 * spec.key_heads * spec.head_width, {}),
        rows_(kv_rows(spec, rows)) {
    require_rows(rows_.keys, kernels);
  }

  std::vector<RowFormat> rows() const override { return {rows_.keys, rows_.values}; }
  int64_t step_weight_bytes() const override {
    if (spec().cross) return projection_bytes();
    return projection_bytes() + weights().k.bytes() + weights().v.bytes() +
           weights().k_gain.bytes() + weights().k_offset.bytes();
  }

 private:
  PlaneRows project(std::span<const Slice> slices, ConstMatrix x, StepScratch& scratch) override {
    const Matrix keys = project_by(weights().k, x, scratch);
    normalise(keys, weights().k_gain, weights().k_offset, spec().key_heads);
    if (spec().rotary && !seals()) turn(slices, keys);
    return {keys, project_by(weights().v, x, scratch)};
  }

  void attend(const Block& block, StepScratch& scratch) override {
    Attend pair = over(block);
    if (seals()) {
      pair.rotations = rotations();
    } else if (spec().rotary) {
      turn(block.slices, block.queries);
    }
    read(block, pair, {.keys = 0, .values = 1}, scratch);
  }

  KvRows rows_;
};

class KvScheme final : public Scheme {
 public:
  std::string_view name() const override { return "kv"; }

  Fit fit(const AttentionSpec& spec, const Conditioning& /*conditioning*/,
          const RowChoice& rows) const override {
    if (std::string why = refusal(spec, rows); !why.empty()) return refused(std::move(why));
    const KvRows stored = kv_rows(spec, rows.type);
    return {.possible = true,
            .reason = fmt::format("keys and values are stored, {} numbers each", stored.keys.width),
            .bytes_per_token = stored.bytes(),
            .hot_bytes_per_token = hot_token_bytes(stored.keys) + hot_token_bytes(stored.values),
            .predicted_error = unit_roundoff(rows.type, stored.keys)};
  }

  std::unique_ptr<Attention> build(const AttentionSpec& spec, const AttentionWeights& weights,
                                   const RowChoice& rows, Kernels& kernels) const override {
    require_buildable(refusal(spec, rows), name());
    return std::make_unique<KvAttention>(spec, weights, rows.type, kernels);
  }

 private:
  static std::string refusal(const AttentionSpec& spec, const RowChoice& rows) {
    const KvRows stored = kv_rows(spec, rows.type);
    const std::string why = refuse_format(rows.type, stored.keys);
    return why.empty() ? refuse_format(rows.type, stored.values) : why;
  }
};

}  // namespace

const Scheme& kv_kind() {
  static const KvScheme kind;
  return kind;
}

}  // namespace slim
