// The convolutions, one window at a time: 30 s take 21 MB of scratch at D = 416.
#include "models/waveform.h"

#include "attention/step_scratch.h"

namespace slim {
namespace {

int64_t steps_of(const WaveformStep& step, int64_t frames) {
  return frames < step.taps ? 0 : (frames - step.taps) / step.stride + 1;
}

void convolve(Kernels& kernels, const WaveformStep& step, const LinearWeights& weights,
              ConstMatrix x, Matrix y, Activation activation) {
  kernels.convolve({.x = x,
                    .weight = weights.weight.matrix(),
                    .bias = weights.bias.empty() ? nullptr : weights.bias.values<float>(),
                    .y = y,
                    .stride = step.stride,
                    .activation = activation,
                    .taps = step.taps,
                    .padding = 0});
}

Tensor copied(const Tensor& tensor) {
  const Tensor values = tensor.to_f32();
  return Tensor::from({values.values<float>(), static_cast<size_t>(values.elements())},
                      values.shape());
}

// All rows as one.
Matrix as_row(const Matrix& rows) {
  const int64_t elements = rows.rows * rows.columns;
  return {rows.data, rows.type, 1, elements, elements};
}

}  // namespace

int64_t waveform_rows(int64_t samples) {
  for (const WaveformStep& step : kWaveformSteps) samples = steps_of(step, samples);
  return samples;
}

void fold_channels(LinearWeights& weights, const Tensor& gain, const Tensor& offset) {
  Tensor folded = copied(weights.weight);
  Tensor bias = copied(weights.bias);
  const int64_t inputs = gain.elements();
  for (int64_t output = 0; output < folded.size(0); ++output) {
    float* const row = folded.writable_matrix().row<float>(output);
    double sum = static_cast<double>(bias.values<float>()[output]);
    for (int64_t i = 0; i < folded.size(1); ++i) {
      sum += static_cast<double>(row[i]) * static_cast<double>(offset.values<float>()[i % inputs]);
      row[i] *= gain.values<float>()[i % inputs];
    }
    bias.writable<float>()[output] = static_cast<float>(sum);
  }
  weights.weight = folded;
  weights.bias = bias;
}

void run_waveform(Kernels& kernels, const ModelWeights::Parts& weights, ConstMatrix samples,
                  Matrix out) {
  const auto& [first, second, third] = kWaveformSteps;
  StepScratch memory(kernels.device());
  const int64_t steps = steps_of(first, samples.rows);
  const Matrix narrow = memory.matrix(steps, out.columns);
  const Matrix wide = memory.matrix(steps_of(second, steps), 2 * out.columns);
  convolve(kernels, first, weights.conv1, samples, narrow, Activation::tanh);
  kernels.norm({.x = as_row(narrow), .y = as_row(narrow)});
  convolve(kernels, second, weights.conv2, narrow, wide, Activation::gelu);
  convolve(kernels, third, weights.conv3, wide, out, Activation::gelu);
}

}  // namespace slim
