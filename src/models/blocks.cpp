// The steps of a pre-norm layer, and the memory activations live in.
#include "models/blocks.h"

#include "base/check.h"

namespace slim {
namespace {

constexpr int64_t kAlignment = 64;

const float* floats_of(const Tensor& vector) {
  return vector.empty() ? nullptr : vector.values<float>();
}

}  // namespace

void normalise(Kernels& kernels, const NormWeights& weights, float epsilon, ConstMatrix x,
               Matrix y) {
  LayerNorm norm;
  norm.x = x;
  norm.gain = floats_of(weights.gain);
  norm.offset = floats_of(weights.offset);
  norm.epsilon = epsilon;
  norm.y = y;
  kernels.layer_norm(norm);
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

void Scratch::begin(int64_t floats, int64_t count) {
  used_ = 0;
  // Each matrix may lose up to kAlignment bytes to the start of the next.
  const auto needed = static_cast<size_t>(floats * size_of(DType::f32) + count * kAlignment);
  if (block_ != nullptr && block_->size() >= needed) return;
  block_.reset();  // first, so that the old and the new are never held together
  block_ = device_.allocate(needed);
}

Matrix Scratch::take(int64_t rows, int64_t columns) {
  Matrix matrix{block_->data() + used_, DType::f32, rows, columns, columns};
  used_ += rows * columns * size_of(DType::f32);
  check(used_ <= static_cast<int64_t>(block_->size()), "a call takes what it asked for");
  used_ = (used_ + kAlignment - 1) / kAlignment * kAlignment;
  return matrix;
}

std::unique_ptr<Scratch> ScratchPool::take() {
  const std::lock_guard lock(mutex_);
  if (free_.empty()) {
    // Room to come back to, so that put() cannot fail.
    free_.reserve(free_.capacity() + 1);
    return std::make_unique<Scratch>(device_);
  }
  std::unique_ptr<Scratch> scratch = std::move(free_.back());
  free_.pop_back();
  return scratch;
}

void ScratchPool::put(std::unique_ptr<Scratch> scratch) noexcept {
  const std::lock_guard lock(mutex_);
  free_.push_back(std::move(scratch));
}

}  // namespace slim
