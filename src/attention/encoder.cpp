// encoder: cross attention over the encoder's output, stored once for all decoder layers and beams
// instead of keys and values in each. The formulas stand in input_rows.h.
#include <fmt/format.h>

#include "attention/input_rows.h"
#include "attention/kinds.h"
#include "attention/row_fit.h"

namespace slim {
namespace {

class EncoderAttention final : public InputRowsAttention {
 public:
  using InputRowsAttention::InputRowsAttention;
  bool shares_rows() const override { return true; }
};

class EncoderScheme final : public Scheme {
 public:
  std::string_view name() const override { return "encoder"; }

  Fit fit(const AttentionSpec& spec, const Conditioning& /*conditioning*/,
          DType rows) const override {
    if (std::string why = refusal(spec, rows); !why.empty()) return refused(std::move(why));
    return {.possible = true,
            .reason = fmt::format(
                "the encoder's output, {} numbers, stands for the keys and values of every layer",
                spec.width),
            .bytes_per_token = RowFormat{rows, spec.width}.bytes(),
            .shared_rows = true,
            .predicted_error = unit_roundoff(rows)};
  }

  std::unique_ptr<Attention> build(const AttentionSpec& spec, const AttentionWeights& weights,
                                   DType rows, Kernels& kernels) const override {
    require_buildable(refusal(spec, rows), name());
    return std::make_unique<EncoderAttention>(spec, weights, rows, kernels);
  }

 private:
  static std::string refusal(const AttentionSpec& spec, DType rows) {
    if (!spec.cross) return "self-attention has no encoder to read from";
    return InputRowsAttention::refusal(spec, rows);
  }
};

}  // namespace

const Scheme& encoder_kind() {
  static const EncoderScheme kind;
  return kind;
}

}  // namespace slim
