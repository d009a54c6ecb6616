// The steps of a pre-norm layer.
#include "models/blocks.h"

namespace slim {
namespace {

const float* floats_of(const Tensor& vector) {
  return vector.empty() ? nullptr : vector.values<float>();
}

}  // namespace

void normalise(Kernels& kernels, const NormWeights& weights, float epsilon, ConstMatrix x,
               Matrix y) {
  Norm norm;
  norm.x = x;
  norm.gain = floats_of(weights.gain);
  norm.offset = floats_of(weights.offset);
  norm.epsilon = epsilon;
  norm.y = y;
  kernels.norm(norm);
}

Linear linear_of(ConstMatrix x, const Tensor& weight, const Tensor& bias, Matrix y) {
  Linear linear;
  linear.x = x;
  linear.weight = weight.matrix();
  linear.bias = floats_of(bias);
  linear.y = y;
  return linear;
}

void run_mlp(Kernels& kernels, const StackSpec& stack, const MlpWeights& weights, Matrix x,
             Matrix normed, Matrix hidden) {
  normalise(kernels, weights.norm, stack.norm_epsilon, x, normed);
  Linear up = linear_of(normed, weights.up.weight, weights.up.bias, hidden);
  up.activation = stack.activation;
  kernels.linear(up);
  Linear down = linear_of(hidden, weights.down.weight, weights.down.bias, x);
  down.accumulate = true;
  kernels.linear(down);
}

}  // namespace slim
