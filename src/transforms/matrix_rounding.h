// Shaped rounding of a weight matrix: integers with a scale per row, chosen so that what the matrix
// computes is close, not just its elements. With inputs k of second moments C the error of row m
// is e^T C e; nearest plane (Babai), the GPTQ recurrence: with C = L L^T the columns are rounded
// one after another, each to the best value given the errors of those before it.
#pragma once

#include "transforms/linalg.h"

namespace slim {

struct RoundedMatrix {
  Tensor integers;  // [rows, columns] i16
  Tensor scale;     // [rows] f32
};

// `moments`: C [columns, columns]; none (0 x 0) for plain rounding. Singular C are fine. The factor
// is in double precision, since C has the squares of condition numbers; errors, a part in 2^15 of
// the elements at most, are passed on in single. Cost: columns^3 / 3 operations for the factor, and
// rows * columns^2 in single precision.
RoundedMatrix round_rows(const Dense& matrix, Dense moments);

}  // namespace slim
