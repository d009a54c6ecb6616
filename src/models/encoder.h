// Encoder: from a log-mel spectrogram to one row per 20 ms of audio: two convolutions (the second
// halves the rate), positions, pre-norm layers with full self-attention, a final norm.
#pragma once

#include <cstdint>
#include <vector>

#include "models/blocks.h"

namespace slim {

class Encoder {
 public:
  // `weights`: in the device's memory (Parts::on). The arguments must outlive it.
  Encoder(const ModelSpec& spec, const ModelWeights::Parts& weights, Kernels& kernels);

  // mel: [batch * frames, bins] f32, in the host's memory; out: [batch * frames / 2, D] f32.
  void run(ConstMatrix mel, int64_t batch, Matrix out) const;

 private:
  void run_windows(ConstMatrix mel, int64_t batch, Matrix out) const;
  void attend(const EncoderLayer& layer, int64_t batch, Matrix x, Matrix normed, Matrix qkv) const;

  const ModelSpec& spec_;
  const ModelWeights::Parts& weights_;
  Kernels& kernels_;
  std::vector<int32_t> counting_;  // 0, 1, ... positions - 1
};

}  // namespace slim
