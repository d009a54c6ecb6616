// Blocks: what both stacks of a model are made of: the weights of a pre-norm layer, and the steps
// that run them.
//
//   x += attention(norm(x));   x += down(activation(up(norm(x))))
#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

#include "attention/scheme.h"
#include "kernels/kernels.h"
#include "models/model.h"
#include "models/spec.h"

namespace slim {

struct NormWeights {
  Tensor gain, offset;  // [D] f32
};

struct LinearWeights {
  Tensor weight;  // [outputs, inputs]
  Tensor bias;    // [outputs] f32, or empty
};

struct MlpWeights {
  NormWeights norm;
  LinearWeights up, down;
};

struct EncoderLayer {
  NormWeights norm;
  AttentionWeights self;
  MlpWeights mlp;
};

struct DecoderLayer {
  NormWeights self_norm;
  AttentionWeights self;
  NormWeights cross_norm;
  AttentionWeights cross;
  MlpWeights mlp;
};

struct ModelWeights::Parts {
  LinearWeights conv1, conv2;  // weight tap-major: [D, 3 * inputs]
  Tensor encoder_positions;    // [P, D]
  std::vector<EncoderLayer> encoder;
  NormWeights encoder_norm;

  Tensor embed;              // [V, D]
  Tensor decoder_positions;  // [P, D]
  std::vector<DecoderLayer> decoder;
  NormWeights decoder_norm;
  Tensor head;  // [V, D]; the embedding's own bytes where it is tied

  int64_t bytes = 0;
  mutable std::once_flag conditioned;
  mutable std::vector<Conditioning> conditioning;
};

// y = norm(x); y may be x.
void normalise(Kernels& kernels, const NormWeights& weights, float epsilon, ConstMatrix x,
               Matrix y);
// The arguments of y = x weight^T + bias, for the caller to add an activation or accumulation to.
Linear linear_of(ConstMatrix x, const Tensor& weight, const Tensor& bias, Matrix y);
// x += down(activation(up(norm(x)))). normed: [T, D]; hidden: [T, mlp_width].
void run_mlp(Kernels& kernels, const StackSpec& stack, const MlpWeights& weights, Matrix x,
             Matrix normed, Matrix hidden);

}  // namespace slim
