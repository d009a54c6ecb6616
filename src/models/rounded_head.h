// RoundedHead: the vocabulary product, the largest of a decoding step, in integers first, and
// exactly where that can matter. With a row of weights w held as integers q, s = max |w| / 127, and
// x rounded to 16 bits (Inputs::i16), a logit is off by at most
//   s reach(x),  reach(x) = (sum |x| / 2 + D max |x| / 514) (1 + 1/256)
// the last factor for f32 sums. Of the `count` likeliest columns of a row by rounded logits let L
// be the least of logit - s reach(x): no column whose logit + s reach(x) is below L can be among
// the `count` likeliest. All others are multiplied again, with the weights as they are. So what is
// found is what exact logits would have given; their normaliser alone has rounded terms, of columns
// that are unlikely (measured in docs/measurements.md).
#pragma once

#include <cstdint>
#include <memory>

#include "kernels/kernels.h"
#include "models/blocks.h"
#include "models/spec.h"

namespace slim {

class RoundedHead {
 public:
  // Null where it would not serve: other models than those that hear, small vocabularies, weights
  // that are integers already, not finite, or in a device's own memory. `head` must outlive it.
  static std::unique_ptr<RoundedHead> make(const ModelSpec& spec, const LinearWeights& head,
                                           Kernels& kernels);

  // Whether make() would, but for weights that are not finite.
  static bool serves(const ModelSpec& spec, const LinearWeights& head, Kernels& kernels);

  // Whether it is quicker for so many rows than the product as it is.
  bool pays(int64_t rows) const { return rows <= most_rows_; }
  // logits [T, V] = x head^T, off by what is said above.
  void approximate(ConstMatrix x, Matrix logits) const;
  // Makes exact whatever can be found in a row, and all columns from find.tail on. What is
  // -infinity stays so. `logits`: of approximate(), where some may have been forbidden since.
  void settle(ConstMatrix x, const FindCandidates& find, Matrix logits) const;

  int64_t bytes() const { return rounded_.bytes(); }

 private:
  RoundedHead(const LinearWeights& head, Kernels& kernels);
  bool round();  // false if a weight is not finite
  // Lists the columns that may be among the `count` likeliest of some row, ascending.
  void find_doubtful(ConstMatrix x, ConstMatrix logits, int64_t count) const;
  void settle_doubtful(ConstMatrix x, Matrix logits) const;
  void settle_tail(ConstMatrix x, int64_t tail, Matrix logits) const;

  const LinearWeights& exact_;
  Kernels& kernels_;
  int64_t most_rows_;
  LinearWeights rounded_;
};

}  // namespace slim
