// RoundedHead: the vocabulary product, the largest of a decoding step, in integers first, and
// exactly where that can matter. Rows w of the table have much in common, and what is common to all
// logits changes nothing that is found. So with the table's mean row m and the deviations d of its
// columns (of a sample of its rows), what is rounded is
//   u = (w - m) / d  to v = s q, s = max |u| / 127,   and  z = x d  to y = t r (Inputs::i8)
// a logit less that of m is x.(w - m) = z.u, and
//   z.u - y.v = z.(u - v) + (z - y).v
// so that by Cauchy-Schwarz it is off by at most
//   reach = (|u - v| |z| + |v| (|z - y| + |z| / 2^20)) (1 + 1/256)
// where |.| is the root of the sum of squares, and 256 and 2^20 are for f32's rounding. (t is such
// that z.y = z.z: likely columns are those whose v is much like z, so that z - y would otherwise
// move all of them together.) Of the `count` likeliest columns of a row by rounded logits let L be
// the least of logit - reach: no column whose logit + reach is below L can be among the `count`
// likeliest. All others are multiplied again, with the weights as they are. So what is found is
// what exact logits would have given; their normaliser alone has rounded terms, of columns that are
// unlikely (measured in docs/measurements.md).
#pragma once

#include <cstdint>
#include <memory>

#include "kernels/kernels.h"
#include "models/blocks.h"
#include "models/spec.h"

namespace slim {

// Of a row x: what z loses by rounding, |z| and |z - y| with room for f32's own (NaN for NaN), and
// x.m, which its rounded logits are without.
struct RoundedInput {
  float size = 0.0F;
  float off = 0.0F;
  float common = 0.0F;
};

class RoundedHead {
 public:
  // Null where it would not serve: other models than those that hear, small vocabularies, weights
  // that are integers already, not finite, or in a device's own memory. `head` must outlive it.
  static std::unique_ptr<RoundedHead> make(const ModelSpec& spec, const LinearWeights& head,
                                           Kernels& kernels);

  // Whether make() would, but for weights that are not finite.
  static bool serves(const ModelSpec& spec, const LinearWeights& head, Kernels& kernels);

  // logits [T, V] = x (head - m)^T, off by what is said above.
  void approximate(ConstMatrix x, Matrix logits) const;
  // Makes exact whatever can be found in a row, and all columns from find.tail on. What is
  // -infinity stays so. `logits`: of approximate(), which this thread called last with this x; some
  // may have been forbidden since.
  void settle(ConstMatrix x, const FindCandidates& find, Matrix logits) const;

  int64_t bytes() const { return rounded_.bytes() + norms_.bytes() + columns_.bytes(); }

 private:
  RoundedHead(const LinearWeights& head, Kernels& kernels);
  // `visit(row, values)` for every `step`th row of the table, while it is true; whether it was.
  template <typename Visit>
  bool each_row(int64_t step, const Visit& visit) const;
  void describe_columns();
  bool round();  // false if a weight is not finite
  // z, to be rounded, of x. [D] each
  RoundedInput prepare(const float* x, float* z) const;
  // Lists the columns that may be among the `count` likeliest of some row, ascending.
  void find_doubtful(ConstMatrix logits, int64_t count) const;
  void settle_doubtful(ConstMatrix x, Matrix logits) const;
  void settle_tail(ConstMatrix x, int64_t tail, Matrix logits) const;

  const LinearWeights& exact_;
  Kernels& kernels_;
  LinearWeights rounded_;
  Tensor columns_;  // [2, D]: m, d
  Tensor norms_;    // [2, V]: |u - v|, |v|
};

}  // namespace slim
