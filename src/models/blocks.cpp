// The steps of a layer.
#include "models/blocks.h"

#include <algorithm>

#include "attention/step_scratch.h"

namespace slim {
namespace {

// 32 MB of f32. A block of tokens reads the MLP's weights once: at F = 14336, gated, it still has
// 292 of them, enough to hide that.
constexpr int64_t kHiddenFloats = int64_t{1} << 23;

const float* floats_of(const Tensor& vector) {
  return vector.empty() ? nullptr : vector.values<float>();
}

}  // namespace

void normalise(Kernels& kernels, const NormSpec& spec, const NormWeights& weights, ConstMatrix x,
               Matrix y, bool accumulate) {
  kernels.norm({.kind = spec.kind,
                .x = x,
                .gain = floats_of(weights.gain),
                .offset = floats_of(weights.offset),
                .epsilon = spec.epsilon,
                .accumulate = accumulate,
                .y = y});
}

Linear linear_of(ConstMatrix x, const LinearWeights& weights, Matrix y) {
  return {.x = x,
          .weight = weights.weight.matrix(),
          .scale = floats_of(weights.scale),
          .bias = floats_of(weights.bias),
          .y = y,
          .inputs = weights.inputs};
}

Embed embed_of(std::span<const int32_t> ids, const LinearWeights& table, Matrix y) {
  return {.ids = ids, .table = table.weight.matrix(), .scale = floats_of(table.scale), .y = y};
}

int64_t mlp_columns(const StackSpec& stack) { return stack.mlp_width * (stack.gated ? 2 : 1); }

int64_t mlp_rows(const StackSpec& stack, int64_t tokens) {
  return std::min(tokens, std::max<int64_t>(1, kHiddenFloats / mlp_columns(stack)));
}

void run_mlp(Kernels& kernels, const StackSpec& stack, const MlpWeights& weights, ConstMatrix x,
             Matrix hidden, Matrix y) {
  for (int64_t first = 0; first < x.rows; first += hidden.rows) {
    const int64_t rows = std::min(hidden.rows, x.rows - first);
    const ConstMatrix in = x.rows_from(first, rows);
    const Matrix block = hidden.rows_from(0, rows);
    const Matrix inner = block.columns_from(0, stack.mlp_width);
    if (stack.gated) {
      const Matrix gate = block.columns_from(stack.mlp_width, stack.mlp_width);
      kernels.linear(linear_of(in, weights.gate, gate));
      kernels.linear(linear_of(in, weights.up, inner));
      kernels.gate({.gate = gate, .up = inner, .activation = stack.activation, .y = inner});
    } else {
      Linear up = linear_of(in, weights.up, inner);
      up.activation = stack.activation;
      kernels.linear(up);
    }
    Linear down = linear_of(inner, weights.down, y.rows_from(first, rows));
    down.accumulate = true;
    kernels.linear(down);
  }
}

void run_patches(Kernels& kernels, Activation activation, const PatchWeights& weights,
                 ConstMatrix x, Matrix y) {
  StepScratch memory(kernels.device());
  const Matrix hidden = memory.matrix(x.rows, weights.up.weight.size(0));
  Linear up = linear_of(x, weights.up, hidden);
  up.activation = activation;
  kernels.linear(up);
  kernels.linear(linear_of(x, weights.skip, y));
  Linear down = linear_of(hidden, weights.down, y);
  down.accumulate = true;
  kernels.linear(down);
}

}  // namespace slim
