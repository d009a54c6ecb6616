// Encoder: from what the model is given to rows for cross attention. One that hears takes a log-mel
// spectrogram to one row per 20 ms of audio: two convolutions (the second halves the rate),
// positions, layers; or samples to one per 24 ms: three convolutions (waveform.h), layers. One that
// reads takes tokens, or patches of a series, to a row each: embedding, positions, layers. Layers
// have full self-attention, with norms as StackSpec::residual says.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "models/blocks.h"

namespace slim {

class Encoder {
 public:
  // `weights`: in the device's memory (Parts::on). The arguments must outlive it.
  Encoder(const ModelSpec& spec, const ModelWeights::Parts& weights, Kernels& kernels);

  // mel: [batch * frames, bins] f32, in the host's memory; out: [batch * frames / 2, D] f32.
  void hear(ConstMatrix mel, int64_t batch, Matrix out) const;
  // Windows of samples one after another, `lengths` of each, in the host's memory; out: the rows of
  // each, [rows, D] f32.
  void hear(std::span<const float> samples, std::span<const int64_t> lengths, Matrix out) const;
  // out: [rows, D] f32. A source is never cut or filled up, and takes memory as its length grows,
  // not as its square.
  void read(const Sources& sources, Matrix out) const;

 private:
  struct Scratch;

  void hear_windows(ConstMatrix mel, int64_t batch, Matrix out) const;
  void convolve(ConstMatrix mel, int64_t batch, const Scratch& scratch) const;
  void read_some(const Sources& sources, Matrix out) const;
  void embed_tokens(const Sources& sources, Matrix out) const;
  void embed_patches(const Sources& sources, Matrix out) const;
  void run_layers(const Sources& sources, Matrix x, const Scratch& scratch) const;
  void attend(const EncoderLayer& layer, const Sources& sources, ConstMatrix in, Matrix x,
              const Scratch& scratch) const;

  const ModelSpec& spec_;
  const ModelWeights::Parts& weights_;
  Kernels& kernels_;
  std::shared_ptr<const Rotation> rotation_;  // of rotary positions
};

}  // namespace slim
