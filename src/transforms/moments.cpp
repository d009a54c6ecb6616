// Second moments of a layer's input, given or taken as white.
#include "transforms/moments.h"

#include <numeric>

#include "base/check.h"

namespace slim {
namespace {

// w S, of moments that are given.
Dense times_moments(const Dense& weight, InputMoments moments) {
  const int64_t width = weight.columns;
  if (moments->shape().size() == 2) {
    check(moments->size(0) == width && moments->size(1) == width, "moments are of a layer's input");
    return product(weight, to_dense(*moments, "calibrated"));
  }
  check(moments->shape() == std::vector<int64_t>{width}, "moments are of a layer's input");
  const Dense diagonal = to_dense(moments->reshape({1, width}), "calibrated");
  Dense result = weight;
  for (int64_t i = 0; i < result.rows; ++i) {
    for (int64_t j = 0; j < width; ++j) result.at(i, j) *= diagonal.values[static_cast<size_t>(j)];
  }
  return result;
}

}  // namespace

Dense output_moments(const Dense& weight, InputMoments moments) {
  if (moments == nullptr) return gram(weight);
  return product(times_moments(weight, moments), weight, Transposed::second);
}

std::vector<double> output_powers(const Dense& weight, InputMoments moments) {
  const Dense given = moments == nullptr ? Dense() : times_moments(weight, moments);
  const Dense& weighted = moments == nullptr ? weight : given;
  std::vector<double> powers;
  for (int64_t i = 0; i < weight.rows; ++i) {
    powers.push_back(
        std::inner_product(weight.row(i), weight.row(i) + weight.columns, weighted.row(i), 0.0));
  }
  return powers;
}

}  // namespace slim
