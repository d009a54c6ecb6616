// The factors of a tall matrix A [e, D], e >= D, and what value maps take of them: rows times the
// pseudo-inverse A^+, and the smallest singular triples, by inverse iteration. A square A, as
// models have it, is factored by LU with pivots, and A^+ = A^-1; others by QR, and
// A^+ = R^-1 Q^T, at three times the cost. Nearly all of it is matrix products.
#pragma once

#include <vector>

#include "transforms/linalg.h"

namespace slim {

class TallFactor {
 public:
  // About 2/3 D^3 operations, or 2 e D^2 if not square.
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

  // rows [n, D] -> rows A^+ [n, e]. Cost: 2 n D^2 operations, or n D (D + 4 e) if not square.
  Dense through_inverse(Dense rows) const;

 private:
  bool square() const noexcept { return packed_.rows == packed_.columns; }
  Dense onto_columns(
      Dense rows) const;  // from the coordinates that divide() leaves: [n, D], [n, e]
  // rows C^-1 or rows C^-T of the core C [D, D] of A: A itself, or R.
  void divide(Dense& rows, bool transposed) const;

  Dense packed_;                 // U and L; or R above the diagonal, Q's reflectors below
  std::vector<int32_t> pivots_;  // of LU
  std::vector<double> tau_;      // of the reflectors
};

}  // namespace slim
