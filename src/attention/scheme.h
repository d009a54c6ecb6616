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

#include "attention/row_type.h"
#include "kernels/kernels.h"
#include "tensor/row_format.h"
#include "tensor/tensor.h"

namespace slim {

class PageLayout;

// A norm over projected queries and keys, before they are turned.
enum class KeyNorm : uint8_t {
  none,
  row,   // over the whole projection, all heads at once (OLMo-2)
  head,  // over each head (StableLM-2-12B, Chameleon)
};

// One attention layer, as data. e = heads * head_width is the width of q, k and v.
struct AttentionSpec {
  int64_t width = 0;       // D: of the layer's input
  int64_t heads = 0;       // H
  int64_t key_heads = 0;   // G; equal to heads in multi-head attention
  int64_t head_width = 0;  // C
  float scale = 1.0F;      // on scores; Whisper: C^-1/2; T5: 1
  bool cross = false;      // keys and values come from the encoder's output
  bool causal = true;      // false for cross attention
  bool rotary = false;     // positions enter by rotating q and k (no x rows then)
  bool key_bias = false;   // harmless without rotation (it cancels in the softmax)
  // By regime, where rotary; not needed to plan.
  std::vector<std::shared_ptr<const Rotation>> rotations = {};
  KeyNorm key_norm = KeyNorm::none;
  NormKind key_norm_kind = NormKind::rms;
  float key_norm_epsilon = 1e-5F;
  std::vector<float> slopes = {};  // [H]: ALiBi; or none
  int64_t bias_reach = 0;  // distances that AttentionWeights::bias tells apart (T5); 0: it has none
  float cap = 0.0F;        // soft cap on scores; 0: none
  int64_t window = 0;      // positions a query sees, its own included; 0: all
  float clip = 0.0F;       // q, k and v are clamped to +-clip; 0: not
};

// A linear layer's weights, [outputs, inputs] of any weight type.
struct LinearWeights {
  Tensor weight;
  Tensor scale;                 // [outputs] f32, for i8 and i16 weights; else empty
  Tensor bias;                  // [outputs] f32, or empty
  Inputs inputs = Inputs::f32;  // of products with it

  int64_t bytes() const { return weight.bytes() + scale.bytes() + bias.bytes(); }
};

// What a kind computes from the weights of a layer, or finds in a converted model. For k, with
// r spill columns: value = [key, spill(x)] value_map^T (transforms/value_map.h).
struct DerivedWeights {
  LinearWeights value_map;  // M_r^T [H*C, H*C], i16 with scales (f32 in tests); empty: not derived
  Tensor spill;             // U_r^T [r, D] f16
  Tensor spill_map;         // B^T [H*C, r] f32
  Tensor shaping_u;         // [H*C + r, rank] f16 (tensor/row_format.h, Shaping)
  Tensor shaping_g;         // [H*C + r, rank] f16
  Tensor shaping_order;     // [H*C + r] i32, or empty

  int64_t bytes() const {
    return value_map.bytes() + spill.bytes() + spill_map.bytes() + shaping_u.bytes() +
           shaping_g.bytes() + shaping_order.bytes();
  }
};

struct AttentionWeights {
  LinearWeights q;    // [H*C, D]
  LinearWeights k;    // [G*C, D]
  LinearWeights v;    // [G*C, D]; empty in a converted model whose layer runs k
  LinearWeights out;  // [D, H*C]
  Tensor q_gain, q_offset, k_gain, k_offset;  // [H*C], [G*C] f32: of key norms; or empty
  Tensor bias;                  // [H, 2 * bias_reach + 1] f32: DistanceBias::values; or empty
  DerivedWeights derived;       // from a converted model; else empty
  Inputs inputs = Inputs::f32;  // of attention itself
};

// How a layer's rows are stored.
struct RowChoice {
  RowType type = RowType::f16;
  int64_t spill = 0;  // r: columns beside the keys; a multiple of 8 (k)
  int64_t rank = 0;   // of shaped rounding's factor; 0: plain rounding (k)

  friend bool operator==(const RowChoice&, const RowChoice&) = default;
};

// What keys stored in one way would do to the attention output.
struct KeyError {
  RowChoice rows;
  double error = 0.0;  // predicted, as a multiple of that of kv in bf16
};

// What transforms/ finds out about a layer's weights.
struct Conditioning {
  std::optional<double> condition_k;  // largest over smallest singular value of W_K; none: unknown
  std::vector<KeyError> key_errors = {};  // as key_choices() lists; none: unknown
};

// Can this kind hold this layer in rows of this type, at what size and predicted error?
struct Fit {
  bool possible = false;
  std::string reason;           // a clause that goes into a sentence, either way
  int64_t bytes_per_token = 0;  // in a full page; 0 if build() would throw: not even force helps
  int64_t hot_bytes_per_token = 0;  // of f32 rows in the unsealed page; 0 if rows stand alone
  bool shared_rows = false;         // all layers of this kind read one row set (encoder)
  // Predicted relative error of the attention output from rounding rows. None: not known.
  std::optional<double> predicted_error;
};

// What some heads of a cross attention layer score, before the softmax: scale * query . key, capped
// where the layer caps. For a step of one slice; row i * T + t is of heads[i] and token t.
struct HeadScores {
  std::span<const int64_t> heads;
  Matrix scores;  // [heads.size() * T, S] f32, in the host's memory
};

// A step: T tokens of several sequences, as slices over their page tables. For cross attention
// the slices are over encoder rows, and sequences that share an encoder row set (beams, batch rows
// of one window) come as one slice. Where planes are sealed, slices have a hot page.
struct AttentionStep {
  std::span<const Slice> slices;
  const HeadScores* scores = nullptr;  // wanted beside the output, or null
};

// One layer of one kind, ready to run. Immutable after construction but for scratch memory that
// belongs to the calling step; several threads may run different steps at once.
//
// The reading rule, on every path (prefill, chunk, decode, beam): a query reads sealed pages before
// its own page, and the f32 rows of its own page up to itself. So chunking, batching and sharing
// change nothing but f32 rounding. A page is sealed when its last row has been attended.
class Attention {
 public:
  virtual ~Attention() = default;
  // The planes it stores per token, in the order place() receives their offsets.
  virtual std::vector<RowFormat> rows() const = 0;
  // True if all layers of this kind read one row set (encoder): it is stored once, by any of them.
  virtual bool shares_rows() const { return false; }
  // Adds its planes to a layout; if it seals any, all of them to the hot page as well.
  void place(PageLayout& layout);
  // Where in each page its planes lie; and where in the hot page (entries of no width: nowhere).
  void place(std::vector<Plane> planes, std::vector<Plane> hot = {}) {
    planes_ = std::move(planes);
    hot_planes_ = std::move(hot);
  }
  const std::vector<Plane>& planes() const noexcept { return planes_; }
  const std::vector<Plane>& hot_planes() const noexcept { return hot_planes_; }

  // Appends the rows that x leaves behind to the pages of each slice: x is the normed layer input
  // (self), or the encoder's output (cross). x: [T, D] f32. For layers that seal no plane.
  virtual void store(const AttentionStep& step, ConstMatrix x) = 0;
  // out[T, D] += attention of x over the stored rows, through the output projection. Self:
  // stores x first, and seals the pages it fills.
  virtual void forward(const AttentionStep& step, ConstMatrix x, Matrix out) = 0;
  // Makes the f32 rows of the page that row `rows` - 1 is in from its integers, for a sequence that
  // went back to `rows` rows, not a multiple of kPageRows (a rollback). One more rounding.
  void reopen(Kernels& kernels, std::byte* const* pages, std::byte* hot, int64_t rows) const;
  // Bytes of the weights it derived and holds beside the model's own (W_K transposed, M).
  virtual int64_t derived_bytes() const { return 0; }
  // Bytes of the weights that forward() reads for the token of a decoding step.
  virtual int64_t step_weight_bytes() const = 0;

 private:
  std::vector<Plane> planes_;
  std::vector<Plane> hot_planes_;
};

// A kind. Stateless.
class Scheme {
 public:
  virtual ~Scheme() = default;
  virtual std::string_view name() const = 0;  // "kv", "k", "x", "encoder"
  virtual Fit fit(const AttentionSpec& spec, const Conditioning& conditioning,
                  const RowChoice& rows) const = 0;
  virtual std::unique_ptr<Attention> build(const AttentionSpec& spec,
                                           const AttentionWeights& weights, const RowChoice& rows,
                                           Kernels& kernels) const = 0;
};

// All kinds, and the one of a name (throws Error{bad_request} listing the names).
std::span<const Scheme* const> schemes();
const Scheme& scheme(std::string_view name);

}  // namespace slim
