// Blocks: what both stacks of a model are made of: the weights of a pre-norm layer, the steps that
// run them, and the memory activations live in.
//
//   x += attention(norm(x));   x += down(activation(up(norm(x))))
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "attention/scheme.h"
#include "kernels/kernels.h"
#include "models/encoder_decoder.h"
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

// The activations of one call: f32 matrices carved from one block that has grown to the largest
// call so far, so that a steady stream of steps allocates nothing.
class Scratch {
 public:
  explicit Scratch(Device& device) : device_(device) {}

  // Takes back all matrices and makes room for `count` new ones of `floats` elements together.
  // Throws Error{out_of_memory}.
  void begin(int64_t floats, int64_t count);
  Matrix take(int64_t rows, int64_t columns);  // uninitialised, 64-byte aligned

 private:
  Device& device_;
  std::shared_ptr<Buffer> block_;
  int64_t used_ = 0;  // bytes
};

// Scratch for any number of threads: as many as ever ran at once. Thread-safe.
class ScratchPool {
 public:
  class Lease {
   public:
    explicit Lease(ScratchPool& pool) : pool_(pool), scratch_(pool.take()) {}
    ~Lease() { pool_.put(std::move(scratch_)); }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    Scratch& operator*() const noexcept { return *scratch_; }

   private:
    ScratchPool& pool_;
    std::unique_ptr<Scratch> scratch_;
  };

  explicit ScratchPool(Device& device) : device_(device) {}

 private:
  std::unique_ptr<Scratch> take();
  void put(std::unique_ptr<Scratch> scratch) noexcept;

  Device& device_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Scratch>> free_;
};

}  // namespace slim
