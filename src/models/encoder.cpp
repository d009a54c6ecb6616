// The encoder, a few windows or sources at a time. Scratch per row: D (normed) + max(3 H C, and
// what an MLP takes): q, k and v are dead when the MLP runs, and so are the convolutions when the
// layers do. A window of 30 s takes 9 MB at D = 384 and 31 MB at D = 1280.
#include "models/encoder.h"

#include <algorithm>
#include <numeric>

#include "attention/step_scratch.h"
#include "models/waveform.h"

namespace slim {
namespace {

// Windows run together until they have this many frames: one of 30 s (its 1500 rows keep every core
// busy, and more would only grow the scratch memory), or several short ones.
constexpr int64_t kFramesAtOnce = 3000;
// Sources run together until they have this many tokens.
constexpr int64_t kTokensAtOnce = 2048;

std::vector<int32_t> counting(int64_t count) {
  std::vector<int32_t> numbers(static_cast<size_t>(count));
  std::iota(numbers.begin(), numbers.end(), 0);
  return numbers;
}

// Of what is there for each row, or not at all.
std::span<const int32_t> part_of(std::span<const int32_t> all, int64_t first, int64_t count) {
  return all.empty() ? all : all.subspan(static_cast<size_t>(first), static_cast<size_t>(count));
}

// 0, 1, ... of each source.
std::vector<int32_t> places_of(std::span<const int64_t> lengths) {
  std::vector<int32_t> places;
  for (const int64_t length : lengths) {
    for (int64_t place = 0; place < length; ++place) {
      places.push_back(static_cast<int32_t>(place));
    }
  }
  return places;
}

// Sources [begin, end) that run together: one, or as many as `most` rows have room for. Returns the
// rows that they have.
int64_t take_sources(std::span<const int64_t> lengths, size_t begin, size_t& end, int64_t most) {
  int64_t count = 0;
  for (end = begin; end < lengths.size(); ++end) {
    if (count > 0 && count + lengths[end] > most) break;
    count += lengths[end];
  }
  return count;
}

}  // namespace

// Of `rows` rows.
struct Encoder::Scratch {
  Scratch(const ModelSpec& spec, int64_t rows, StepScratch& memory)
      : normed(memory.matrix(rows, spec.encoder.width)),
        hidden_rows(mlp_rows(spec.encoder, rows)),
        shared(memory.matrix(
            1,
            std::max({3 * rows * inner_width(spec.encoder), hidden_rows * mlp_columns(spec.encoder),
                      spec.mel_bins > 0 ? 2 * rows * spec.encoder.width : 0}))) {}

  static int64_t inner_width(const StackSpec& stack) { return stack.heads * stack.width_of_head(); }
  Matrix within(int64_t rows, int64_t columns) const {
    return {shared.data, DType::f32, rows, columns, columns};
  }

  Matrix normed;
  int64_t hidden_rows;
  Matrix shared;  // by turns: convolutions, q, k and v, an MLP
};

Encoder::Encoder(const ModelSpec& spec, const ModelWeights::Parts& weights, Kernels& kernels)
    : spec_(spec), weights_(weights), kernels_(kernels) {
  const StackSpec& stack = spec.encoder;
  if (stack.position_kind != Positions::rotary) return;
  rotation_ = rotations(stack.rope, stack.positions).front();
}

void Encoder::hear(ConstMatrix mel, int64_t batch, Matrix out) const {
  const int64_t frames = mel.rows / batch;
  const int64_t at_once = std::max<int64_t>(1, kFramesAtOnce / frames);
  for (int64_t first = 0; first < batch; first += at_once) {
    const int64_t count = std::min(at_once, batch - first);
    hear_windows(mel.rows_from(first * frames, count * frames), count,
                 out.rows_from(first * frames / 2, count * frames / 2));
  }
}

void Encoder::hear_windows(ConstMatrix mel, int64_t batch, Matrix out) const {
  Device& device = kernels_.device();
  StepScratch memory(device);
  const Scratch scratch(spec_, out.rows, memory);
  if (!device.host()) {
    const Matrix brought = memory.matrix(mel.rows, mel.columns);
    copy_matrix(device, mel, brought);
    mel = brought;
  }
  convolve(mel, batch, scratch);

  // x[t] + positions[t] is an embedding whose table is x itself.
  const int64_t per_window = out.rows / batch;
  const std::vector<int32_t> places = counting(per_window);
  Embed add;
  add.ids = add.places = places;
  add.positions = weights_.encoder_positions.matrix();
  for (int64_t window = 0; window < batch; ++window) {
    add.table = scratch.normed.rows_from(window * per_window, per_window);
    add.y = out.rows_from(window * per_window, per_window);
    kernels_.embed(add);
  }
  const std::vector<int64_t> lengths(static_cast<size_t>(batch), per_window);
  run_layers({.lengths = lengths}, out, scratch);
}

// Into scratch.normed.
void Encoder::convolve(ConstMatrix mel, int64_t batch, const Scratch& scratch) const {
  Convolve convolve;
  convolve.x = mel;
  convolve.weight = weights_.conv1.weight.matrix();
  convolve.bias = weights_.conv1.bias.values<float>();
  convolve.y = scratch.within(mel.rows, spec_.encoder.width);
  convolve.batch = batch;
  convolve.activation = spec_.encoder.activation;
  kernels_.convolve(convolve);
  convolve.x = convolve.y;
  convolve.weight = weights_.conv2.weight.matrix();
  convolve.bias = weights_.conv2.bias.values<float>();
  convolve.y = scratch.normed;
  convolve.stride = 2;
  kernels_.convolve(convolve);
}

void Encoder::hear(std::span<const float> samples, std::span<const int64_t> lengths,
                   Matrix out) const {
  Device& device = kernels_.device();
  std::vector<int64_t> rows;
  for (const int64_t length : lengths) rows.push_back(waveform_rows(length));
  int64_t first = 0;
  int64_t sample = 0;
  for (size_t begin = 0, end = 0; begin < rows.size(); begin = end) {
    const int64_t count = take_sources(rows, begin, end, kTokensAtOnce);
    StepScratch memory(device);
    const Scratch scratch(spec_, count, memory);
    const Matrix x = out.rows_from(first, count);
    for (size_t i = begin; i < end; ++i) {
      const auto* data = reinterpret_cast<const std::byte*>(samples.data() + sample);
      ConstMatrix window{data, DType::f32, lengths[i], 1, 1};
      const Matrix brought = device.host() ? Matrix{} : memory.matrix(window.rows, 1);
      if (!device.host()) {
        copy_matrix(device, window, brought);
        window = brought;
      }
      run_waveform(kernels_, weights_, window, out.rows_from(first, rows[i]));
      first += rows[i];
      sample += lengths[i];
    }
    run_layers({.lengths = std::span(rows).subspan(begin, end - begin)}, x, scratch);
  }
}

void Encoder::read(const Sources& sources, Matrix out) const {
  const std::span<const int64_t> lengths = sources.lengths;
  int64_t first = 0;
  for (size_t begin = 0, end = 0; begin < lengths.size(); begin = end) {
    const int64_t count = take_sources(lengths, begin, end, kTokensAtOnce);
    Sources some{.lengths = lengths.subspan(begin, end - begin),
                 .tokens = part_of(sources.tokens, first, count),
                 .places = part_of(sources.places, first, count)};
    if (sources.patches.rows > 0) some.patches = sources.patches.rows_from(first, count);
    read_some(some, out.rows_from(first, count));
    first += count;
  }
}

void Encoder::read_some(const Sources& sources, Matrix out) const {
  StepScratch memory(kernels_.device());
  const Scratch scratch(spec_, out.rows, memory);
  spec_.series.patch > 0 ? embed_patches(sources, out) : embed_tokens(sources, out);
  run_layers(sources, out, scratch);
}

void Encoder::embed_tokens(const Sources& sources, Matrix out) const {
  Embed embed = embed_of(sources.tokens, weights_.encoder_embed, out);
  embed.factor = spec_.embed_factor;
  std::vector<int32_t> places;
  if (!weights_.encoder_positions.empty()) {
    places = places_of(sources.lengths);
    embed.places = places;
    embed.positions = weights_.encoder_positions.matrix();
  }
  kernels_.embed(embed);
  if (spec_.embed_norm) {
    normalise(kernels_, spec_.encoder.norm, weights_.encoder_embed_norm, out, out);
  }
}

void Encoder::embed_patches(const Sources& sources, Matrix out) const {
  Device& device = kernels_.device();
  StepScratch memory(device);
  ConstMatrix patches = sources.patches;
  if (!device.host()) {
    const Matrix brought = memory.matrix(patches.rows, patches.columns);
    copy_matrix(device, patches, brought);
    patches = brought;
  }
  run_patches(kernels_, spec_.encoder.activation, weights_.patch_in, patches, out);
  if (!spec_.series.closed) return;
  const int32_t token = 1;
  int64_t end = 0;
  for (const int64_t length : sources.lengths) {
    end += length;
    kernels_.embed(embed_of({&token, 1}, weights_.encoder_embed, out.rows_from(end - 1, 1)));
  }
}

void Encoder::run_layers(const Sources& sources, Matrix x, const Scratch& scratch) const {
  const StackSpec& stack = spec_.encoder;
  const Matrix hidden = scratch.within(scratch.hidden_rows, mlp_columns(stack));
  for (const EncoderLayer& layer : weights_.encoder) {
    if (stack.residual == Residual::after_sum) {
      attend(layer, sources, x, x, scratch);
      normalise(kernels_, stack.norm, layer.norm, x, x);
      run_mlp(kernels_, stack, layer.mlp, x, hidden, x);
      normalise(kernels_, stack.norm, layer.mlp.norm, x, x);
    } else {
      normalise(kernels_, stack.norm, layer.norm, x, scratch.normed);
      attend(layer, sources, scratch.normed, x, scratch);
      normalise(kernels_, stack.norm, layer.mlp.norm, x, scratch.normed);
      run_mlp(kernels_, stack, layer.mlp, scratch.normed, hidden, x);
    }
  }
  if (stack.final_norm) normalise(kernels_, stack.norm, weights_.encoder_norm, x, x);
}

// x += out(attention(q, k, v)) with q, k and v of `in`, which may be x. Sources that are equally
// long are attended to together.
void Encoder::attend(const EncoderLayer& layer, const Sources& sources, ConstMatrix in, Matrix x,
                     const Scratch& scratch) const {
  const AttentionSpec attention = spec_.encoder.self(false);
  const Matrix qkv = scratch.within(3 * x.rows, Scratch::inner_width(spec_.encoder));
  const Matrix q = qkv.rows_from(0, x.rows);
  const Matrix k = qkv.rows_from(x.rows, x.rows);
  const Matrix v = qkv.rows_from(2 * x.rows, x.rows);
  kernels_.linear(linear_of(in, layer.self.q, q));
  kernels_.linear(linear_of(in, layer.self.k, k));
  kernels_.linear(linear_of(in, layer.self.v, v));
  if (rotation_ != nullptr) {
    const std::vector<int32_t> places = places_of(sources.lengths);
    for (const Matrix& turned : {q, k}) {
      kernels_.rotate({.x = turned,
                       .positions = places,
                       .rotation = rotation_.get(),
                       .head_width = attention.head_width,
                       .y = turned});
    }
  }

  AttendDense dense;
  dense.heads = attention.heads;
  dense.scale = attention.scale;
  dense.inputs = layer.self.inputs;
  if (attention.bias_reach > 0) {
    dense.bias = {layer.self.bias.values<float>(), attention.bias_reach};
  }
  const std::span<const int64_t> lengths = sources.lengths;
  int64_t first = 0;
  for (size_t begin = 0; begin < lengths.size();) {
    size_t end = begin + 1;
    while (end < lengths.size() && lengths[end] == lengths[begin]) ++end;
    dense.batch = static_cast<int64_t>(end - begin);
    const int64_t rows = dense.batch * lengths[begin];
    dense.q = dense.out = q.rows_from(first, rows);
    dense.k = k.rows_from(first, rows);
    dense.v = v.rows_from(first, rows);
    dense.places = part_of(sources.places, first, rows);
    kernels_.attend_dense(dense);
    first += rows;
    begin = end;
  }
  Linear project = linear_of(q, layer.self.out, x);
  project.accumulate = true;
  kernels_.linear(project);
}

}  // namespace slim
