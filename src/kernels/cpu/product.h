// DenseProduct: what linear() and grouped_linear() have in common, and the end of a product.
// linear.cpp has products in f32, integer_linear.cpp those of rounded rows.
#pragma once

#include "kernels/cpu/context.h"
#include "kernels/kernels.h"

namespace slim {

// A grouped product with the end of a linear layer: the general case of both operations.
struct DenseProduct {
  ConstMatrix x;
  int64_t x_stride;  // columns from one group's x to the next's
  ConstMatrix weight;
  const float* scale;
  const float* bias;
  Matrix y;
  int64_t groups;
  Activation activation;
  bool accumulate;
  Inputs inputs;

  int64_t rows() const { return x.rows; }
  int64_t depth() const { return weight.columns; }
  int64_t outputs() const { return weight.rows / groups; }  // of one group
  ConstMatrix x_of(int64_t group) const { return x.columns_from(group * x_stride, depth()); }
};

// y's rows [row, row + rows) and outputs [first, first + outputs), counted over all groups; their
// sums are in the tile.
struct Region {
  int64_t row, rows;
  int64_t first, outputs;
  const float* tile;
  int64_t tile_stride;
};

inline void finish(const CpuContext& context, const DenseProduct& product, const Region& region) {
  context.ops.finish({.tile = region.tile,
                      .tile_stride = region.tile_stride,
                      .scale = product.scale == nullptr ? nullptr : product.scale + region.first,
                      .bias = product.bias == nullptr ? nullptr : product.bias + region.first,
                      .activation = product.activation,
                      .accumulate = product.accumulate,
                      .y = product.y.rows_from(region.row, region.rows)
                               .columns_from(region.first, region.outputs)});
}

// Of i8 weights, whose x is rounded as product.inputs says.
void multiply_rounded(const CpuContext& context, const DenseProduct& product);

}  // namespace slim
