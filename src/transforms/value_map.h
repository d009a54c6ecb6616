// The value map of slim attention: values from cached keys (arXiv 2503.05840, section 2), made
// sound for trained weights. With rows on the left K = X W_K and V = X W_V; files store W^T
// ([outputs, inputs]), and so does what is returned here.
//
// Trained W_K = U S V^T are ill-conditioned (1e3 to 1e9), and W_K^-1 W_V multiplies the rounding of
// K by that. So the r smallest singular directions U_r are left out of the map, and what they carry
// is cached as r more columns, the spill z = x U_r:
//   V = K M + z B,   B = (U_r^T P)^-1 U_r^T W_V,   M = V_k S_k^-1 U_k^T (W_V - P B)
// where P is U_r as it is stored, in f16: then U_r^T (W_V - P B) = 0, so the identity is exact for
// the rounded P and every r (with U_k, S_k, V_k the directions that are kept).
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "tensor/tensor.h"
#include "transforms/linalg.h"
#include "transforms/moments.h"
#include "transforms/tall_factor.h"

namespace slim {

// Largest over smallest singular value of a weight matrix [outputs, inputs]. Infinity if singular
// to double precision. Cost: about 2 d^3 operations.
double condition_number(const Tensor& weight);

struct ValueMapOptions {
  int64_t spill = 0;       // r
  bool rounded = false;    // M in i16 with a scale per output, its rounding shaped; else in f32
  InputMoments moments{};  // of the layer's input: what the rounding of M is shaped for
};

struct ValueMap {
  Tensor map;        // M^T [E, e]: i16 or f32
  Tensor scale;      // [E] f32, of i16; else empty
  Tensor spill;      // P^T [r, D] f16; empty if r = 0
  Tensor spill_map;  // B^T [E, r] f32; empty if r = 0

  int64_t bytes() const { return map.bytes() + scale.bytes() + spill.bytes() + spill_map.bytes(); }
};

// From W_K^T [e, D] and W_V^T [E, D], of any weight type; e >= D. Cost: about 3 D^3 operations
// where e = D, else 8 e D^2; and 2.3 e^2 E more if rounded. Throws Error{unsupported_model} if e <
// D (keys then hold less than the input) or more than r singular values of W_K are zero to double
// precision; Error{bad_file} if a weight is not finite.
ValueMap value_map(const Tensor& key_weight, const Tensor& value_weight,
                   const ValueMapOptions& options);
// The map alone, in f32, without spill.
Tensor value_map(const Tensor& key_weight, const Tensor& value_weight);

// The same before M and B are rounded.
struct ExactValueMap {
  Dense map;        // M^T [E, e]
  Dense spill;      // P^T [r, D], as rounded to f16
  Dense spill_map;  // B^T [E, r]
};
ExactValueMap exact_value_map(const Dense& key_weight, const Dense& value_weight, int64_t spill);

// The maps of one layer for several r. Errors as value_map's.
class ValueMaps {
 public:
  // For r up to `most`.
  ValueMaps(Dense key_weight, Dense value_weight, int64_t most);

  double condition() const noexcept { return condition_; }  // of W_K, as condition_number()
  ExactValueMap at(int64_t spill) const;                    // about 2 E (D + e) most operations

 private:
  void check_spill(int64_t spill) const;
  Dense through_inverse(Dense rows) const;

  double largest_;  // singular value of W_K
  TallFactor keys_;
  TallFactor::Triples small_;  // the `most` smallest, and the next
  int64_t most_;
  int64_t nullity_ = 0;  // singular values that are zero to double precision
  int64_t tiny_ = 0;     // that are exact, and far below the others looked at
  double condition_ = 0;
  Dense along_;    // W_V^T U: the values that the smallest directions carry [E, most]
  Dense rest_;     // M^T with all of `most` left out, B = 0
  Dense inverse_;  // U^T W_K^+ [most, e]
};

// As stored: M rounded to i16 for keys of these second moments (round_rows), or, without them, to
// f32.
ValueMap to_stored(const ExactValueMap& exact, std::optional<Dense> moments);

// [M^T, B^T] [E, e + r]: what turns a cached row into a value.
DenseF32 row_map(const ExactValueMap& map);
DenseF32 row_map(const ValueMap& map);

// W_K^T cut into heads and transposed: [H*C, D] -> [H*D, C], so that GroupedLinear turns queries
// into queries over x rows: (q_i W_K,i^T) . x = q_i . (x W_K,i). Keeps the type.
Tensor absorb_key(const Tensor& key_weight, int64_t heads);

}  // namespace slim
