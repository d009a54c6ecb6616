// The QR factors of a tall matrix A [e, D], e >= D, and what value maps take of them: rows times
// the pseudo-inverse A^+ = R^-1 Q^T, and the smallest singular triples, by inverse iteration. Five
// times cheaper than an SVD, and nearly all of it matrix products.
#pragma once

#include <vector>

#include "transforms/linalg.h"

namespace slim {

class TallFactor {
 public:
  // About 2 e D^2 operations.
  explicit TallFactor(Dense matrix);

  // Singular triples, A right_i = values_i left_i, smallest value first.
  struct Triples {
    std::vector<double> values;
    Dense left;   // [count, e], orthonormal rows
    Dense right;  // [count, D], orthonormal rows
  };
  int64_t width() const noexcept { return packed_.columns; }  // D

  // The `count` <= D smallest. Inverse iteration on count + 16 vectors: a direction is exact to
  // (value_i / value_(count + 16))^12, so the very small ones to the last digit. Whatever they
  // miss, left and right belong to each other. A singular A is taken as one with values of about
  // 2^-52 of its largest. Cost: about 30 (count + 16) D^2 operations.
  Triples smallest(int64_t count) const;

  // rows [n, D] -> rows A^+ [n, e]. Cost: n D (D + 4 e) operations.
  Dense through_inverse(Dense rows) const;

 private:
  Dense onto_columns(const Dense& rows) const;      // rows Q^T
  void divide(Dense& rows, bool transposed) const;  // rows R^-1, or rows R^-T

  Dense packed_;             // R above the diagonal, Q's reflectors below
  std::vector<double> tau_;  // of the reflectors
};

}  // namespace slim
