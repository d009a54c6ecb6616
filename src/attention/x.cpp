// x: self-attention without rotation over the layer's own normed inputs. A token leaves D numbers
// instead of 2 G C, and no inverse is taken anywhere: rounding is not amplified. The formulas stand
// in input_rows.h.
#include <fmt/format.h>

#include "attention/input_rows.h"
#include "attention/kinds.h"
#include "attention/row_fit.h"

namespace slim {
namespace {

class XScheme final : public Scheme {
 public:
  std::string_view name() const override { return "x"; }

  Fit fit(const AttentionSpec& spec, const Conditioning& /*conditioning*/,
          const RowChoice& rows) const override {
    if (std::string why = refusal(spec, rows.type); !why.empty()) return refused(std::move(why));
    Fit fit = InputRowsAttention::fit_of(spec, rows.type);
    fit.reason =
        fmt::format("the layer's input, {} numbers, stands for keys and values", spec.width);
    return fit;
  }

  std::unique_ptr<Attention> build(const AttentionSpec& spec, const AttentionWeights& weights,
                                   const RowChoice& rows, Kernels& kernels) const override {
    require_buildable(refusal(spec, rows.type), name());
    return std::make_unique<InputRowsAttention>(spec, weights, rows.type, kernels);
  }

 private:
  static std::string refusal(const AttentionSpec& spec, RowType rows) {
    if (spec.cross) return "cross attention reads encoder rows, not the layer's own input";
    return InputRowsAttention::refusal(spec, rows);
  }
};

}  // namespace

const Scheme& x_kind() {
  static const XScheme kind;
  return kind;
}

}  // namespace slim
