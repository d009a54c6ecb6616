// The encoder, a few windows at a time. Scratch per window row: D (normed) + max(3 D, mlp_width):
// q, k and v are dead when the MLP runs, and so are the convolutions when the layers do. A window
// of 30 s takes 11.5 MB at D = 384 and 38 MB at D = 1280.
#include "models/encoder.h"

#include <algorithm>
#include <numeric>

#include "attention/step_scratch.h"

namespace slim {
namespace {

// Windows run together until they have this many frames: one of 30 s (its 1500 rows keep every core
// busy, and more would only grow the scratch memory), or several short ones.
constexpr int64_t kFramesAtOnce = 3000;

}  // namespace

Encoder::Encoder(const ModelSpec& spec, const ModelWeights::Parts& weights, Kernels& kernels)
    : spec_(spec),
      weights_(weights),
      kernels_(kernels),
      counting_(static_cast<size_t>(spec.encoder.positions)) {
  std::iota(counting_.begin(), counting_.end(), 0);
}

void Encoder::run(ConstMatrix mel, int64_t batch, Matrix out) const {
  const int64_t frames = mel.rows / batch;
  const int64_t at_once = std::max<int64_t>(1, kFramesAtOnce / frames);
  for (int64_t first = 0; first < batch; first += at_once) {
    const int64_t count = std::min(at_once, batch - first);
    run_windows(mel.rows_from(first * frames, count * frames), count,
                out.rows_from(first * frames / 2, count * frames / 2));
  }
}

void Encoder::run_windows(ConstMatrix mel, int64_t batch, Matrix out) const {
  const int64_t width = spec_.encoder.width;
  const int64_t rows = out.rows;
  const int64_t wide = std::max(3 * width, mlp_columns(spec_.encoder));
  Device& device = kernels_.device();
  StepScratch scratch(device);
  if (!device.host()) {
    const Matrix brought = scratch.matrix(mel.rows, mel.columns);
    copy_matrix(device, mel, brought);
    mel = brought;
  }
  const Matrix normed = scratch.matrix(rows, width);
  const Matrix shared = scratch.matrix(rows, wide);
  const auto within = [&shared](int64_t matrix_rows, int64_t columns) {
    return Matrix{shared.data, DType::f32, matrix_rows, columns, columns};
  };

  Convolve convolve;
  convolve.x = mel;
  convolve.weight = weights_.conv1.weight.matrix();
  convolve.bias = weights_.conv1.bias.values<float>();
  convolve.y = within(2 * rows, width);
  convolve.batch = batch;
  convolve.activation = spec_.encoder.activation;
  kernels_.convolve(convolve);
  convolve.x = convolve.y;
  convolve.weight = weights_.conv2.weight.matrix();
  convolve.bias = weights_.conv2.bias.values<float>();
  convolve.y = normed;
  convolve.stride = 2;
  kernels_.convolve(convolve);

  // x[t] + positions[t] is an embedding whose table is x itself.
  const int64_t per_window = rows / batch;
  Embed add;
  add.ids = std::span(counting_).first(static_cast<size_t>(per_window));
  add.places = add.ids;
  add.positions = weights_.encoder_positions.matrix();
  for (int64_t window = 0; window < batch; ++window) {
    add.table = normed.rows_from(window * per_window, per_window);
    add.y = out.rows_from(window * per_window, per_window);
    kernels_.embed(add);
  }

  for (const EncoderLayer& layer : weights_.encoder) {
    attend(layer, batch, out, normed, within(3 * rows, width));
    normalise(kernels_, spec_.encoder.norm, layer.mlp.norm, out, normed);
    run_mlp(kernels_, spec_.encoder, layer.mlp, normed, within(rows, mlp_columns(spec_.encoder)),
            out);
  }
  normalise(kernels_, spec_.encoder.norm, weights_.encoder_norm, out, out);
}

// x += out(attention(q, k, v)) with q, k and v of norm(x). qkv: [3 * rows, D].
void Encoder::attend(const EncoderLayer& layer, int64_t batch, Matrix x, Matrix normed,
                     Matrix qkv) const {
  const AttentionSpec attention = spec_.encoder.self(false);
  const Matrix q = qkv.rows_from(0, x.rows);
  const Matrix k = qkv.rows_from(x.rows, x.rows);
  const Matrix v = qkv.rows_from(2 * x.rows, x.rows);
  normalise(kernels_, spec_.encoder.norm, layer.norm, x, normed);
  kernels_.linear(linear_of(normed, layer.self.q, q));
  kernels_.linear(linear_of(normed, layer.self.k, k));
  kernels_.linear(linear_of(normed, layer.self.v, v));

  AttendDense dense;
  dense.q = q;
  dense.k = k;
  dense.v = v;
  dense.out = normed;  // free again: q, k and v are made
  dense.heads = attention.heads;
  dense.batch = batch;
  dense.scale = attention.scale;
  kernels_.attend_dense(dense);
  Linear project = linear_of(normed, layer.self.out, x);
  project.accumulate = true;
  kernels_.linear(project);
}

}  // namespace slim
