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
          const RowChoice& rows) const override {
    if (std::string why = refusal(spec, rows.type); !why.empty()) return refused(std::move(why));
    Fit fit = InputRowsAttention::fit_of(spec, rows.type);
    fit.reason = fmt::format(
        "the encoder's output, {} numbers, stands for the keys and values of every layer",
        spec.width);
    return fit;
  }

  std::unique_ptr<Attention> build(const AttentionSpec& spec, const AttentionWeights& weights,
                                   const RowChoice& rows, Kernels& kernels) const override {
    require_buildable(refusal(spec, rows.type), name());
    return std::make_unique<EncoderAttention>(spec, weights, rows.type, kernels);
  }

 private:
  static std::string refusal(const AttentionSpec& spec, RowType rows) {
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
