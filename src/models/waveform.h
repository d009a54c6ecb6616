// Waveform: the front end of an encoder that hears samples of 16 kHz (Moonshine): three
// convolutions take them to rows 384 samples (24 ms) apart, of 895 samples each:
//   h = tanh(conv1(x))                                        127 taps, 64 apart, no bias
//   h = (h - mean(h)) / sqrt(var(h) + 1e-5) * gain + offset   over the whole window
//   h = gelu(conv2(h))                                        7 taps, 3 apart, twice as wide
//   y = gelu(conv3(h))                                        3 taps, 2 apart
// Nothing is padded, so gain and offset, of channels, are part of conv2's weights and bias.
#pragma once

#include <cstdint>

#include "models/blocks.h"

namespace slim {

struct WaveformStep {
  int64_t taps;
  int64_t stride;
};
constexpr WaveformStep kWaveformSteps[] = {{127, 64}, {7, 3}, {3, 2}};
constexpr int64_t kWaveformLeast = 895;  // samples of one row
// 30 s, and longer sound is cut: of that the decoder, at most 6.5 tokens a second, fills its 194
// positions.
constexpr int64_t kWaveformLongest = int64_t{30} * 16000;

// How many rows come of so many samples; 0 of fewer than kWaveformLeast.
int64_t waveform_rows(int64_t samples);

// gain[c] * x + offset[c] for each channel of a convolution's input, as part of its weights, which
// are f32 then. weights: tap-major, with bias; gain and offset: [inputs] f32.
void fold_channels(LinearWeights& weights, const Tensor& gain, const Tensor& offset);

// samples: [n, 1] f32, one window; out: [waveform_rows(n), D] f32. In the device's memory.
void run_waveform(Kernels& kernels, const ModelWeights::Parts& weights, ConstMatrix samples,
                  Matrix out);

}  // namespace slim
