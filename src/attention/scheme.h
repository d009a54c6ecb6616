// Scheme and Attention: what a cache kind is. The seam of Slim lies one step above where other
// engines put it: normed layer input in, attention output (output projection included) out. Then
// kv, k, x and encoder are siblings, and nobody else knows which one runs.
//
// A kind is one file here and one line in the table of schemes.cpp.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/kernels.h"
#include "tensor/row_format.h"
#include "tensor/tensor.h"

namespace slim {

// One attention layer, as data. e = heads * head_width is the width of q, k and v.
struct AttentionSpec {
  int64_t width = 0;       // D: of the layer's input
  int64_t heads = 0;       // H
  int64_t key_heads = 0;   // G; equal to heads in multi-head attention
  int64_t head_width = 0;  // C
  float scale = 1.0F;      // on scores; Whisper: C^-1/2
  bool cross = false;      // keys and values come from the encoder's output
  bool causal = true;      // false for cross attention
  bool rotary = false;     // positions enter by rotating q and k (no x rows then)
  bool key_bias = false;   // harmless without rotation (it cancels in the softmax)
};

// Weights are [outputs, inputs]; biases [outputs] f32, or empty.
struct AttentionWeights {
  Tensor q, q_bias;      // [H*C, D]
  Tensor k, k_bias;      // [G*C, D]
  Tensor v, v_bias;      // [G*C, D]
  Tensor out, out_bias;  // [D, H*C]
};

// What transforms/value_map.h finds out about a layer's weights.
struct Conditioning {
  std::optional<double> condition_k;  // largest over smallest singular value of W_K; none: unknown
};

// Can this kind hold this layer in rows of this type, at what size and predicted error?
struct Fit {
  bool possible = false;
  std::string reason;           // a clause that goes into a sentence, either way
  int64_t bytes_per_token = 0;  // 0 if build() would throw, so that not even force helps
  bool shared_rows = false;     // all layers of this kind read one row set (encoder)
  // Predicted relative error of the attention output from rounding rows: the row type's unit
  // roundoff times the amplification of the kind (1, or cond(W_K) for k). None: not known.
  std::optional<double> predicted_error;
};

// A step: T tokens of several sequences, as slices over their page tables. For cross attention
// the slices are over encoder rows, and sequences that share an encoder row set (beams, batch rows
// of one window) come as one slice.
struct AttentionStep {
  std::span<const Slice> slices;
};

// One layer of one kind, ready to run. Immutable after construction but for scratch memory that
// belongs to the calling step; several threads may run different steps at once.
class Attention {
 public:
  virtual ~Attention() = default;
  // The planes it stores per token, in the order place() receives their offsets.
  virtual std::vector<RowFormat> rows() const = 0;
  // True if all layers of this kind read one row set (encoder): it is stored once, by any of them.
  virtual bool shares_rows() const { return false; }
  // Where in each page its planes lie.
  void place(std::vector<Plane> planes) { planes_ = std::move(planes); }
  const std::vector<Plane>& planes() const noexcept { return planes_; }

  // Appends the rows that x leaves behind to the pages of each slice: x is the normed layer input
  // (self), or the encoder's output (cross). x: [T, D] f32.
  virtual void store(const AttentionStep& step, ConstMatrix x) = 0;
  // out[T, D] += attention of x over the *stored* rows, through the output projection. Self:
  // stores x first, so that every query reads stored rows, its own included.
  virtual void forward(const AttentionStep& step, ConstMatrix x, Matrix out) = 0;
  // Bytes of the weights it derived and holds beside the model's own (W_K transposed, M).
  virtual int64_t derived_bytes() const { return 0; }

 private:
  std::vector<Plane> planes_;
};

// A kind. Stateless.
class Scheme {
 public:
  virtual ~Scheme() = default;
  virtual std::string_view name() const = 0;  // "kv", "k", "x", "encoder"
  virtual Fit fit(const AttentionSpec& spec, const Conditioning& conditioning,
                  DType rows) const = 0;
  virtual std::unique_ptr<Attention> build(const AttentionSpec& spec,
                                           const AttentionWeights& weights, DType rows,
                                           Kernels& kernels) const = 0;
};

// All kinds, and the one of a name (throws Error{bad_request} listing the names).
std::span<const Scheme* const> schemes();
const Scheme& scheme(std::string_view name);

}  // namespace slim
