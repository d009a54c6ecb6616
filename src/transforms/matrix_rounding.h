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

// `moments`: C [columns, columns]; none (0 x 0) for plain rounding. Singular C are fine. Cost:
// columns^3 / 3 for the factor and rows * columns^2 operations.
RoundedMatrix round_rows(const Dense& matrix, const Dense& moments);

}  // namespace slim
