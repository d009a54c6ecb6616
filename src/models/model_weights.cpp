// ModelWeights: takes every tensor a spec needs out of a checkpoint, and refuses a checkpoint that
// holds any other: a tensor nobody reads is a model misunderstood.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include <fmt/format.h>

#include "attention/derived.h"
#include "models/blocks.h"
#include "models/distance_bias.h"
#include "models/model.h"
#include "models/parallel.h"
#include "models/waveform.h"
#include "models/weight_reader.h"
#include "slim/error.h"

namespace slim {
namespace {

// Position t: sin(t w_i) in the first half of the columns, cos(t w_i) in the second, with
// w_i = 10000^(-i / steps).
Tensor sinusoids(int64_t positions, int64_t width, int64_t steps) {
  Tensor table = Tensor::allocate(host_device(), DType::f32, {positions, width});
  float* values = table.writable<float>();
  const int64_t half = width / 2;
  for (int64_t i = 0; i < half; ++i) {
    const double frequency =
        std::pow(10000.0, -static_cast<double>(i) / static_cast<double>(steps));
    for (int64_t t = 0; t < positions; ++t) {
      const double angle = static_cast<double>(t) * frequency;
      values[t * width + i] = static_cast<float>(std::sin(angle));
      values[t * width + half + i] = static_cast<float>(std::cos(angle));
    }
  }
  return table;
}

// The table of absolute positions, from position 0 on; empty where there is none.
Tensor read_positions(WeightReader& reader, const std::string& side, const StackSpec& stack) {
  if (!stack.is_absolute()) return {};
  const int64_t rows = stack.position_offset + stack.positions;
  const std::string name = side + ".positions.weight";
  const bool computed = stack.position_kind == Positions::sinusoid && !reader.has(name);
  const Tensor table = computed ? sinusoids(rows, stack.width, stack.sinusoid_steps)
                                : reader.table(name, {rows, stack.width});
  return table.slice(stack.position_offset, stack.positions);
}

// What all layers of a side add to the scores of their self-attention; empty where that is nothing.
Tensor read_bias(WeightReader& reader, const std::string& side, const StackSpec& stack) {
  if (stack.position_kind != Positions::relative) return {};
  const std::string name = side + ".relative_bias.weight";
  const Tensor table = reader.table(name, {stack.buckets, stack.heads}).to_f32();
  return distance_bias(table, stack.bias_reach, side == "encoder");
}

PatchWeights read_patches(WeightReader& reader, const std::string& name, int64_t outputs,
                          int64_t inner, int64_t inputs) {
  return {reader.linear(name + ".up", inner, inputs, true),
          reader.linear(name + ".down", outputs, inner, true),
          reader.linear(name + ".skip", outputs, inputs, true)};
}

void read_source(WeightReader& reader, const ModelSpec& spec, ModelWeights::Parts& parts) {
  const StackSpec& stack = spec.encoder;
  const int64_t vocabulary = spec.source_vocabulary != 0 ? spec.source_vocabulary : spec.vocabulary;
  std::string name = "decoder.embed";
  for (const std::string other : {"encoder.embed", "shared"}) {
    if (!reader.has(other + ".weight")) continue;
    name = other;
    break;
  }
  parts.encoder_embed = reader.embedding(name, vocabulary, stack.width);
  if (spec.embed_norm) {
    parts.encoder_embed_norm = reader.norm("encoder.embed_norm", stack.width, stack.norm);
  }
}

void read_waveform(WeightReader& reader, int64_t width, ModelWeights::Parts& parts) {
  const auto& [first, second, third] = kWaveformSteps;
  parts.conv1 = reader.convolution("encoder.conv1", width, 1, first.taps, false);
  parts.conv2 = reader.convolution("encoder.conv2", 2 * width, width, second.taps);
  parts.conv3 = reader.convolution("encoder.conv3", width, 2 * width, third.taps);
  const NormWeights channels = reader.norm("encoder.conv_norm", width, {});
  fold_channels(parts.conv2, channels.gain, channels.offset);
}

void read_encoder(WeightReader& reader, const ModelSpec& spec, ModelWeights::Parts& parts) {
  const StackSpec& stack = spec.encoder;
  if (spec.waveform) {
    read_waveform(reader, stack.width, parts);
  } else if (spec.hears()) {
    parts.conv1 = reader.convolution("encoder.conv1", stack.width, spec.mel_bins);
    parts.conv2 = reader.convolution("encoder.conv2", stack.width, stack.width);
  } else {
    read_source(reader, spec, parts);
  }
  if (spec.series.patch > 0) {
    parts.patch_in =
        read_patches(reader, "patch_in", stack.width, stack.mlp_width, 2 * spec.series.patch);
  }
  parts.encoder_positions = read_positions(reader, "encoder", stack);
  const Tensor bias = read_bias(reader, "encoder", stack);
  for (int64_t i = 0; i < stack.layers; ++i) {
    const std::string layer = fmt::format("encoder.layers.{}", i);
    parts.encoder.push_back({reader.branch_norm(layer + ".self", stack),
                             reader.attention(layer + ".self", stack),
                             reader.mlp(layer + ".mlp", stack)});
    parts.encoder.back().self.bias = bias;
  }
  if (stack.final_norm) parts.encoder_norm = reader.norm("encoder.norm", stack.width, stack.norm);
}

void read_embedding(WeightReader& reader, const ModelSpec& spec, ModelWeights::Parts& parts) {
  const StackSpec& stack = spec.decoder;
  // Without the start token that has no row (ModelSpec::zero_start).
  const int64_t rows = spec.vocabulary - (spec.zero_start ? 1 : 0);
  const bool projected = spec.embed_width != 0;
  const int64_t width = projected ? spec.embed_width : stack.width;
  // By both sides; beside their own, the same again.
  const bool shared = reader.has("shared.weight");
  const bool own = reader.has("decoder.embed.weight") || !shared;
  parts.embed = reader.embedding(own ? "decoder.embed" : "shared", rows, width);
  if (shared && own) reader.embedding("shared", rows, width);
  if (spec.embed_norm) {
    parts.embed_norm = reader.norm("decoder.embed_norm", stack.width, stack.norm);
  }
  if (projected) {
    parts.embed_in = reader.linear("decoder.embed_in", stack.width, width, false);
    parts.embed_out = reader.linear("decoder.embed_out", width, stack.width, false);
  }
  parts.decoder_positions = read_positions(reader, "decoder", stack);
  if (spec.series.patch > 0) {
    parts.patch_out =
        read_patches(reader, "patch_out", spec.outputs(), stack.mlp_width, stack.width);
    return;
  }
  // Where a file stores the head of a tied model all the same, that is what is used.
  if (!spec.tied_head || reader.has("head.weight")) {
    parts.head = reader.linear("head", rows, width, spec.head_bias);
  } else {
    parts.head = parts.embed;
    // BART's kin may leave out a bias of zeros.
    if (spec.head_bias && reader.has("head.bias")) {
      parts.head.bias = reader.vector("head.bias", rows);
    }
  }
}

// Of the final norm, so that no step has to multiply what the head gets.
void scale_norm(NormWeights& norm, float factor) {
  if (factor == 1.0F) return;
  for (Tensor* const part : {&norm.gain, &norm.offset}) {
    if (part->empty()) continue;
    Tensor scaled = Tensor::allocate(host_device(), DType::f32, part->shape());
    std::transform(part->values<float>(), part->values<float>() + part->elements(),
                   scaled.writable<float>(), [factor](float value) { return factor * value; });
    *part = scaled;
  }
}

void read_decoder(WeightReader& reader, const ModelSpec& spec, ModelWeights::Parts& parts) {
  const StackSpec& stack = spec.decoder;
  read_embedding(reader, spec, parts);
  const Tensor bias = read_bias(reader, "decoder", stack);
  for (int64_t i = 0; i < stack.layers; ++i) {
    const std::string name = fmt::format("decoder.layers.{}", i);
    DecoderLayer layer;
    layer.self_norm = reader.branch_norm(name + ".self", stack);
    layer.self = reader.attention(name + ".self", stack);
    layer.self.bias = bias;
    if (spec.has_encoder()) {
      layer.cross_norm = reader.branch_norm(name + ".cross", stack);
      layer.cross = reader.attention(name + ".cross", stack);
    }
    layer.mlp = reader.mlp(name + ".mlp", stack);
    parts.decoder.push_back(std::move(layer));
  }
  if (stack.final_norm) parts.decoder_norm = reader.norm("decoder.norm", stack.width, stack.norm);
  scale_norm(parts.decoder_norm, spec.head_factor);
}

}  // namespace

ModelWeights::ModelWeights(const ModelSpec& spec, const Checkpoint& checkpoint)
    : parts_(std::make_unique<Parts>()) {
  WeightReader reader(checkpoint);
  if (spec.has_encoder()) read_encoder(reader, spec, *parts_);
  read_decoder(reader, spec, *parts_);
  reader.finish();
  parts_->freeze();
  attentions_ = attention_layers(spec);
  bytes_ = reader.bytes();
}

ModelWeights::~ModelWeights() = default;

AttentionWeights ModelWeights::attention(int64_t decoder_layer, bool cross) const {
  const DecoderLayer& layer = parts_->decoder.at(static_cast<size_t>(decoder_layer));
  return cross ? layer.cross : layer.self;
}

const std::vector<Conditioning>& ModelWeights::conditioning() const {
  return conditioning([](size_t, const LayerTransforms&) {});
}

const std::vector<Conditioning>& ModelWeights::conditioning(Look look) const {
  std::call_once(conditioned_, [&] {
    const std::vector<AttentionSpec>& layers = attentions_;
    const size_t each = layers.size() / parts_->decoder.size();
    std::vector<Conditioning> found(layers.size());
    in_parallel(layers.size(), [&](size_t i) {
      const LayerTransforms transforms(layers[i],
                                       attention(static_cast<int64_t>(i / each), layers[i].cross));
      found[i] = transforms.conditioning();
      look(i, transforms);
    });
    conditioning_ = std::move(found);
  });
  return conditioning_;
}

int64_t ModelWeights::bytes() const noexcept { return bytes_; }

}  // namespace slim
