// SpeechNetwork: Silero's detector (version 6, for 16 kHz): how likely 512 samples (32 ms) hold
// speech. x is a step with the 64 samples before it and, mirrored, its last 64 after it:
//   m[f, t] = sqrt((cosine[f] . x_t)^2 + (sine[f] . x_t)^2)    x_t: 256 samples of x from 128 t on,
//                                                              as WindowSpectrum has it
//   h = relu(conv(... relu(conv(m))))         four of 3 taps, padded by one; strides 1, 2, 2, 1
//   i, f, g, o = A h + B y + b                y, c: the state, zeros at first
//   c = sigmoid(f) c + sigmoid(i) tanh(g),    y = sigmoid(o) tanh(c)
//   p = sigmoid(w . relu(y) + b)
// Weights are those of silero-vad's tensors in safetensors; widths are the tensors' own. In f32 by
// the CPU's kernels on the calling thread, whatever device a model runs on: 0.4 million
// multiplications a step.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "attention/step_scratch.h"
#include "kernels/kernels.h"
#include "models/window_spectrum.h"
#include "tensor/tensor.h"
#include "weights/checkpoint.h"

namespace slim {

class SpeechNetwork {
 public:
  static constexpr int64_t kStep = 512;
  static constexpr int64_t kBefore = 64;

  // Throws Error{bad_file} naming the tensor that is missing, of another shape or not finite.
  explicit SpeechNetwork(const Checkpoint& checkpoint);

  // What a recording's steps so far leave behind; zeros at its beginning.
  struct State {
    std::vector<float> y, c;
  };
  State start() const;
  // Goes on from `state`. samples: kBefore of them, then a step for each of the probabilities.
  // Thread-safe.
  void run(std::span<const float> samples, State& state, std::span<float> probabilities) const;

 private:
  struct Convolution {
    Tensor weight;  // [outputs, 3 * inputs], tap-major
    Tensor bias;
    int64_t stride = 1;
  };
  Matrix spectra(std::span<const float> samples, StepScratch& memory) const;
  Matrix convolve(const Convolution& layer, ConstMatrix x, StepScratch& memory) const;
  void recur(Matrix gates, State& state, Matrix y) const;

  std::unique_ptr<Kernels> kernels_;
  WindowSpectrum spectrum_;
  std::vector<Convolution> convolutions_;
  // [4 * width, inputs], [4 * width, width], [4 * width]. Rows of sigmoids are halved:
  // sigmoid(x) = (1 + tanh(x / 2)) / 2.
  Tensor from_input_, from_state_, gate_bias_;
  Tensor ones_;    // [4 * width]
  Tensor output_;  // [1, width]
  Tensor output_bias_;
};

}  // namespace slim
