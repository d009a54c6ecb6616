// Reading the tensors, and running many steps at once: all but the recurrence are products of a
// row a step.
#include "models/speech_network.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>

#include "base/check.h"
#include "weights/builder.h"

namespace slim {
namespace {

constexpr int64_t kWindow = WindowSpectrum::kWindow;
constexpr int64_t kApart = 128;
constexpr int64_t kSpectra = 4;
constexpr int64_t kTaps = 3;
constexpr int64_t kStrides[] = {1, 2, 2, 1};

// A copy in f32, of numbers alone: of others no probability would ever reach a threshold.
Tensor read(const Checkpoint& checkpoint, const std::string& name,
            const std::vector<int64_t>& shape) {
  const Tensor values = checkpoint.get(name, shape).to_f32();
  const std::span numbers(values.values<float>(), static_cast<size_t>(values.elements()));
  if (!std::all_of(numbers.begin(), numbers.end(), [](float x) { return std::isfinite(x); })) {
    fail_tensor(checkpoint.path(), name, "has a value that is not finite");
  }
  return Tensor::from(numbers, values.shape());
}

// [outputs, inputs, taps] as [outputs, taps * inputs].
Tensor tap_major(const Tensor& weight) {
  const int64_t inputs = weight.size(1);
  Tensor moved = Tensor::allocate(host_device(), DType::f32, {weight.size(0), kTaps * inputs});
  const float* from = weight.values<float>();
  for (int64_t output = 0; output < weight.size(0); ++output) {
    float* const row = moved.writable_matrix().row<float>(output);
    for (int64_t i = 0; i < inputs * kTaps; ++i) row[i % kTaps * inputs + i / kTaps] = *from++;
  }
  return moved;
}

// Rows of sigmoids: the first, second and fourth of four.
Tensor halved(Tensor gates) {
  const int64_t part = gates.elements() / 4;
  float* const values = gates.writable<float>();
  for (int64_t i = 0; i < gates.elements(); ++i) values[i] *= i / part == 2 ? 1.0F : 0.5F;
  return gates;
}

Matrix row_of(std::vector<float>& values) {
  const int64_t columns = std::ssize(values);
  return {reinterpret_cast<std::byte*>(values.data()), DType::f32, 1, columns, columns};
}

}  // namespace

SpeechNetwork::SpeechNetwork(const Checkpoint& checkpoint) : kernels_(make_kernels("cpu", 1)) {
  const Tensor basis = read(checkpoint, "stft_conv.weight", {-1, 1, kWindow});
  if (!WindowSpectrum::fits(basis.reshape({basis.size(0), kWindow}))) {
    fail_tensor(checkpoint.path(), "stft_conv.weight", "is not a window's cosines and sines");
  }
  spectrum_ = WindowSpectrum(basis.reshape({basis.size(0), kWindow}));
  int64_t inputs = spectrum_.frequencies();
  for (const int64_t stride : kStrides) {
    const std::string name = "conv" + std::to_string(convolutions_.size() + 1);
    const Tensor weight = read(checkpoint, name + ".weight", {-1, inputs, kTaps});
    inputs = weight.size(0);
    convolutions_.push_back(
        {tap_major(weight), read(checkpoint, name + ".bias", {inputs}), stride});
  }
  const int64_t width = checkpoint.get("lstm_cell.weight_hh", {-1, -1}).size(1);
  from_state_ = halved(read(checkpoint, "lstm_cell.weight_hh", {4 * width, width}));
  from_input_ = halved(read(checkpoint, "lstm_cell.weight_ih", {4 * width, inputs}));
  gate_bias_ = read(checkpoint, "lstm_cell.bias_ih", {4 * width});
  const Tensor second = read(checkpoint, "lstm_cell.bias_hh", {4 * width});
  for (int64_t i = 0; i < 4 * width; ++i)
    gate_bias_.writable<float>()[i] += second.values<float>()[i];
  gate_bias_ = halved(gate_bias_);
  ones_ = Tensor::from(std::vector<float>(static_cast<size_t>(4 * width), 1.0F), {1, 4 * width});
  output_ = read(checkpoint, "final_conv.weight", {1, width, 1}).reshape({1, width});
  output_bias_ = read(checkpoint, "final_conv.bias", {1});
}

SpeechNetwork::State SpeechNetwork::start() const {
  const auto width = static_cast<size_t>(output_.size(1));
  return {std::vector<float>(width), std::vector<float>(width)};
}

// Magnitudes, [steps, kSpectra * frequencies].
Matrix SpeechNetwork::spectra(std::span<const float> samples, StepScratch& memory) const {
  constexpr int64_t kInside = kBefore + kStep - (kSpectra - 1) * kApart;  // of the last one
  const int64_t steps = (std::ssize(samples) - kBefore) / kStep;
  const int64_t frequencies = spectrum_.frequencies();
  const Matrix folded = memory.matrix(steps, WindowSpectrum::kFolded);
  const Matrix sums = memory.matrix(steps, 2 * frequencies);
  const Matrix magnitudes = memory.matrix(steps, kSpectra * frequencies);
  for (int64_t t = 0; t < kSpectra; ++t) {
    for (int64_t step = 0; step < steps; ++step) {
      const float* x = samples.data() + step * kStep + t * kApart;
      std::array<float, kWindow> mirrored;
      if (t + 1 == kSpectra) {
        std::copy_n(x, kInside, mirrored.begin());
        std::reverse_copy(x + 2 * kInside - 1 - kWindow, x + kInside - 1,
                          mirrored.begin() + kInside);
        x = mirrored.data();
      }
      spectrum_.fold(x, folded.row<float>(step));
    }
    spectrum_.measure(*kernels_, folded, sums,
                      magnitudes.columns_from(t * frequencies, frequencies));
  }
  return magnitudes;
}

// x: [steps, frames * inputs]. The taps that lie beside the frames are left out of the products.
Matrix SpeechNetwork::convolve(const Convolution& layer, ConstMatrix x, StepScratch& memory) const {
  const int64_t inputs = layer.weight.size(1) / kTaps;
  const int64_t outputs = layer.weight.size(0);
  const int64_t frames = x.columns / inputs;
  const int64_t made = (frames - 1) / layer.stride + 1;
  const Matrix y = memory.matrix(x.rows, made * outputs);
  for (int64_t frame = 0; frame < made; ++frame) {
    const int64_t begin = frame * layer.stride - 1;
    const int64_t first = std::max<int64_t>(0, begin);
    const int64_t count = std::min(begin + kTaps, frames) - first;
    kernels_->linear(
        {.x = x.columns_from(first * inputs, count * inputs),
         .weight = layer.weight.matrix().columns_from((first - begin) * inputs, count * inputs),
         .bias = layer.bias.values<float>(),
         .y = y.columns_from(frame * outputs, outputs),
         .activation = Activation::relu});
  }
  return y;
}

// gates: A h + b of each step, which become the gates. y: what each step gives.
void SpeechNetwork::recur(Matrix gates, State& state, Matrix y) const {
  const int64_t width = y.columns;
  const Matrix c = row_of(state.c);
  ConstMatrix before = row_of(state.y);
  for (int64_t step = 0; step < gates.rows; ++step) {
    const Matrix own = gates.rows_from(step, 1);
    kernels_->linear({.x = before, .weight = from_state_.matrix(), .y = own, .accumulate = true});
    kernels_->gate({.gate = own, .up = ones_.matrix(), .activation = Activation::tanh, .y = own});
    float* const input = own.row<float>(0);
    const float* const forget = input + width;
    const float* const fresh = forget + width;
    float* const output = input + 3 * width;
    for (int64_t i = 0; i < width; ++i) {
      const auto k = static_cast<size_t>(i);
      state.c[k] = 0.5F * (1 + forget[i]) * state.c[k] + 0.5F * (1 + input[i]) * fresh[i];
      output[i] = 0.5F * (1 + output[i]);
    }
    const Matrix after = y.rows_from(step, 1);
    kernels_->gate({.gate = c,
                    .up = own.columns_from(3 * width, width),
                    .activation = Activation::tanh,
                    .y = after});
    before = after;
  }
  std::copy_n(before.row<float>(0), width, state.y.begin());
}

void SpeechNetwork::run(std::span<const float> samples, State& state,
                        std::span<float> probabilities) const {
  const auto steps = static_cast<int64_t>(probabilities.size());
  check(std::ssize(samples) == kBefore + steps * kStep, "there is a probability for each step");
  if (steps == 0) return;
  StepScratch memory(host_device());
  Matrix x = spectra(samples, memory);
  for (const Convolution& layer : convolutions_) x = convolve(layer, x, memory);
  const Matrix gates = memory.matrix(steps, from_input_.size(0));
  kernels_->linear(
      {.x = x, .weight = from_input_.matrix(), .bias = gate_bias_.values<float>(), .y = gates});
  const int64_t width = output_.size(1);
  const Matrix y = memory.matrix(steps, width);
  recur(gates, state, y);
  const float* const weight = output_.values<float>();
  for (int64_t step = 0; step < steps; ++step) {
    const float* const row = y.row<float>(step);
    double sum = double{output_bias_.values<float>()[0]};
    for (int64_t i = 0; i < width; ++i) sum += double{weight[i]} * double{std::max(row[i], 0.0F)};
    probabilities[static_cast<size_t>(step)] = static_cast<float>(1 / (1 + std::exp(-sum)));
  }
}

}  // namespace slim
