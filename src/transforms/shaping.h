// The factor that shaped rounding takes (tensor/row_format.h, Shaping): H = D + U U^T in
// semiseparable form, from the weights of a layer. For rows [k, z] of keys and spill with errors e
// the damage is
//   e^T H e = sum_j e_j^2 / var(k_j) + lambda * |e^T N|^2 / var(v),   N = [M; B]
// The second part, lambda N N^T / var(v), is replaced by its diagonal plus rank q: the q largest
// eigenpairs of R N N^T R, R = diag(sqrt(var)), for scales grow with the range of a channel; what
// they leave of the diagonal goes to D, so that H keeps its diagonal whatever q is.
// Channels are rounded from the most to the least sensitive (H_jj var_j): later ones make up for
// the errors of earlier ones.
#pragma once

#include "tensor/row_format.h"
#include "transforms/value_map.h"

namespace slim {

// Mean squares of what a row holds, and of a value.
struct RowPowers {
  std::vector<double> row;  // [e + r]: keys, then spill
  int64_t keys = 0;         // e
  double value = 0;         // of an element of V, on average
};
RowPowers row_powers(const Tensor& key_weight, const Tensor& value_weight, const ValueMap& map,
                     InputMoments moments = nullptr);
// Of rows without spill columns, and with those that P^T [r, D] adds.
RowPowers row_powers(const Dense& key_weight, const Dense& value_weight, InputMoments moments);
RowPowers with_spill(RowPowers powers, const Dense& spill, InputMoments moments = nullptr);

struct ShapingOptions {
  int64_t rank = 32;    // q
  double lambda = 0.5;  // of values against scores; the KL of 0.25 and of 1 differ by 4 %
};

struct ShapingFactor {
  Tensor u;      // [e + r, rank] f16
  Tensor g;      // [e + r, rank] f16
  Tensor order;  // [e + r] i32

  // Valid as long as this.
  Shaping view() const;
  int64_t bytes() const { return u.bytes() + g.bytes() + order.bytes(); }
};

// Before it is rounded, with what it makes of H.
struct ExactShaping {
  double lambda = 0;
  std::vector<double> diagonal;  // D
  std::vector<double> residual;  // the part of D that stands for N N^T
  Dense low_rank;                // U [e + r, rank]
  Dense gains;                   // g [e + r, rank]
  std::vector<double> pivots;    // L_jj^2
  std::vector<int32_t> order;
};
// Cost: an iteration of largest_singular() on N, about 10 times.
ExactShaping exact_shaping(const DenseF32& row_map, const RowPowers& powers,
                           const ShapingOptions& options);

ShapingFactor shaping_factor(ExactShaping shaping);
ShapingFactor shaping_factor(const ValueMap& map, const RowPowers& powers,
                             const ShapingOptions& options);

}  // namespace slim
