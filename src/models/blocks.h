// Blocks: what both stacks of a model are made of: the weights of a layer, and the steps that run
// them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "attention/scheme.h"
#include "kernels/kernels.h"
#include "models/model.h"
#include "models/spec.h"

namespace slim {

struct NormWeights {
  Tensor gain, offset;  // [D] f32; either may be empty (1, 0)
};

struct MlpWeights {
  NormWeights norm;    // empty where the layer's norms are shared
  LinearWeights gate;  // [F, D], of a gated MLP
  LinearWeights up;    // [F, D]
  LinearWeights down;  // [D, F]
};

struct EncoderLayer {
  NormWeights norm;
  AttentionWeights self;
  MlpWeights mlp;
};

struct DecoderLayer {
  NormWeights self_norm;
  AttentionWeights self;
  NormWeights cross_norm;  // with an encoder
  AttentionWeights cross;
  MlpWeights mlp;
};

// Into and out of a model of patches, each with a bias.
struct PatchWeights {
  LinearWeights up;    // [F, inputs]
  LinearWeights down;  // [outputs, F]
  LinearWeights skip;  // [outputs, inputs]
};

struct ModelWeights::Parts {
  // With an encoder.
  LinearWeights conv1, conv2;      // that hears; weight tap-major: [outputs, taps * inputs]
  LinearWeights conv3;             // that hears samples
  PatchWeights patch_in;           // of patches: from 2 * patch to D
  LinearWeights encoder_embed;     // that reads: [V, D], often the decoder's own bytes
  NormWeights encoder_embed_norm;  // of ModelSpec::embed_norm
  Tensor encoder_positions;        // [P, D] from position 0 on; absolute positions only
  std::vector<EncoderLayer> encoder;
  NormWeights encoder_norm;

  LinearWeights embed;       // [V, E]; E is D but for embed_width
  NormWeights embed_norm;    // of ModelSpec::embed_norm
  LinearWeights embed_in;    // [D, E], where E is not D
  LinearWeights embed_out;   // [E, D], where E is not D
  Tensor decoder_positions;  // [P, D] from position 0 on; absolute positions only
  std::vector<DecoderLayer> decoder;
  NormWeights decoder_norm;
  LinearWeights head;      // [V, E]; the embedding's own bytes where it is tied
  PatchWeights patch_out;  // instead, of patches: from D to ModelSpec::outputs

  // As the kernels of a device take them; but the attention of decoder layers stays in the host's
  // memory: each kind brings along what it reads.
  // `arithmetic`: of all products of the model with them, and of its attention. Tables that the
  // kernels do not take are unpacked.
  Parts on(Kernels& kernels, const Arithmetic& arithmetic) const;
  // Of which no tensor will be written again: devices then share copies of them.
  void freeze();
};

// y = norm(x), or y += norm(x); y may be x in the first case.
void normalise(Kernels& kernels, const NormSpec& spec, const NormWeights& weights, ConstMatrix x,
               Matrix y, bool accumulate = false);
// The arguments of y = x weight^T + bias, for the caller to add an activation or accumulation to.
Linear linear_of(ConstMatrix x, const LinearWeights& weights, Matrix y);
// The arguments of y[t] = table[ids[t]].
Embed embed_of(std::span<const int32_t> ids, const LinearWeights& table, Matrix y);

// Columns of scratch that a token takes in an MLP, and how many tokens it should run at once: all
// of `tokens`, or as many as keep that scratch at 32 MB.
int64_t mlp_columns(const StackSpec& stack);
int64_t mlp_rows(const StackSpec& stack, int64_t tokens);
// y += mlp(x): down(activation(up(x))), or gated down(activation(gate(x)) * up(x)). Runs
// hidden.rows tokens at a time. hidden: [at least 1, mlp_columns()]. y may be x.
void run_mlp(Kernels& kernels, const StackSpec& stack, const MlpWeights& weights, ConstMatrix x,
             Matrix hidden, Matrix y);
// y = down(activation(up(x))) + skip(x), with scratch of the device.
void run_patches(Kernels& kernels, Activation activation, const PatchWeights& weights,
                 ConstMatrix x, Matrix y);

}  // namespace slim
