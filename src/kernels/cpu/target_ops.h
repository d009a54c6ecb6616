// TargetOps: the vector code of one instruction set, as a table of functions. They work on blocks
// that fit a core's cache, know no threads and allocate nothing; the plans (dense.h) cut operations
// into such blocks.
//
// A *panel* holds `panel_width` outputs of a weight, depth-major, as f32: panel[k * panel_width +
// n]. The panels of a block follow one another; outputs past the last are zeros.
#pragma once

#include <cstdint>

#include "kernels/kernels.h"

namespace slim {

// tile[t, n] = sum_k a[t * a_stride + k] * panel[k, n] (+ tile[t, n]), for every panel.
// Rows of `a` may overlap (a_stride < depth). `tile` has panels * panel_width columns.
struct PanelProduct {
  const float* a = nullptr;
  int64_t a_stride = 0;
  int64_t rows = 0;
  int64_t depth = 0;
  const float* panels = nullptr;
  int64_t panel_count = 0;
  int64_t panel_stride = 0;  // floats from one panel to the next
  float* tile = nullptr;
  int64_t tile_stride = 0;
  bool accumulate = false;
};

// The end of a product: y = activation(tile * scale + bias) (+ y), over y's shape.
struct Finish {
  const float* tile = nullptr;
  int64_t tile_stride = 0;
  const float* scale = nullptr;  // of y's first column, or none
  const float* bias = nullptr;   // of y's first column, or none
  Activation activation = Activation::none;
  bool accumulate = false;
  Matrix y;
};

// Products on blocks.
struct ProductOps {
  int64_t panel_width = 0;
  int64_t row_group = 0;  // rows of a panel product that are multiplied together: use multiples
  int64_t few_rows = 0;   // up to here multiply_rows is faster than packing and multiply_panels

  // Panels of weight [N, K] (a row is an output), and of a matrix [K, N] (a column is an output).
  void (*pack_rows)(const ConstMatrix& weight, float* panels) = nullptr;
  void (*pack_columns)(const ConstMatrix& matrix, float* panels) = nullptr;
  void (*multiply_panels)(const PanelProduct& product) = nullptr;
  // tile[t, n] = x[t] . weight[n]; reads the weight once, in the type it has. For few rows.
  void (*multiply_rows)(const ConstMatrix& x, const ConstMatrix& weight, float* tile,
                        int64_t tile_stride) = nullptr;
};

// tile[t, n] = x[t] . weight[n] for one to BlockOps::spread_rows rows of x, spread.
struct SpreadProduct {
  const float* x = nullptr;
  int64_t rows = 0;
  ConstMatrix weight;
  float* tile = nullptr;
  int64_t tile_stride = 0;
};

// Products of block weights with the fewest rows of x, whose values are first put ("spread") in
// the order in which a register full of packed weights holds their partners (block_products.cpp).
struct BlockOps {
  int64_t spread_rows = 0;  // up to here this is faster than ProductOps::multiply_rows
  // Floats of one spread row of so many columns.
  int64_t (*spread_floats)(DType type, int64_t columns) = nullptr;
  void (*spread)(DType type, const float* x, int64_t columns, float* out) = nullptr;
  void (*multiply_spread)(const SpreadProduct& product) = nullptr;
};

// A row of x rounded to integers: parts of it, one after another, and what its sums are to become.
struct RoundedRow {
  float scale = 0.0F;
  int32_t start[2] = {0, 0};  // of each part: what its sums of products begin with
};

// tile[t, n] = x[t] . weight[n], less the weight's scale, for rows of x that are rounded.
struct IntegerProduct {
  Inputs inputs = Inputs::i8;
  const std::byte* parts = nullptr;  // of the first row
  int64_t part_bytes = 0;
  const RoundedRow* rounded = nullptr;  // [rows]
  int64_t rows = 0;
  ConstMatrix weight;                 // i8
  const std::byte* panels = nullptr;  // of it
  float* tile = nullptr;              // [rows, outputs, filled up to a multiple of panel_width]
  int64_t tile_stride = 0;
  // Bytes of the weights that come next, which are fetched beside this product.
  const std::byte* next = nullptr;
  const std::byte* next_end = nullptr;
};

// Products of i8 weights with rounded rows (integer_products.cpp). All forms give the same bits.
struct IntegerOps {
  int64_t few_integer_rows = 0;  // up to here multiply_integer_rows is faster than packing
  int64_t (*part_bytes)(int64_t depth) = nullptr;  // of one part of a row
  // Writes parts_of(inputs) parts.
  RoundedRow (*round_row)(const float* x, int64_t columns, Inputs inputs,
                          std::byte* parts) = nullptr;
  int64_t (*panel_bytes)(int64_t depth) = nullptr;  // of panel_width outputs
  void (*pack_integers)(const ConstMatrix& weight, std::byte* panels) = nullptr;
  void (*multiply_integer_panels)(const IntegerProduct& product) = nullptr;
  void (*multiply_integer_rows)(const IntegerProduct& product) = nullptr;
};

// What works on rows, one at a time.
struct RowOps {
  void (*finish)(const Finish& arguments) = nullptr;
  // Rows [begin, end) of the operation.
  void (*norm)(const Norm& arguments, int64_t begin, int64_t end) = nullptr;
  void (*gate)(const Gate& arguments, int64_t begin, int64_t end) = nullptr;
  void (*clamp)(const Clamp& arguments, int64_t begin, int64_t end) = nullptr;
  void (*rotate)(const Rotate& arguments, int64_t begin, int64_t end) = nullptr;
  void (*embed)(const Embed& arguments, int64_t begin, int64_t end) = nullptr;
  void (*log_softmax)(const LogSoftmax& arguments, int64_t begin, int64_t end) = nullptr;
  void (*find_candidates)(const FindCandidates& arguments, int64_t begin, int64_t end) = nullptr;
  // row[s] = exp(scale * row[s] - max(scale * row)); returns their sum. scale > 0.
  float (*exponentiate)(float* row, int64_t count, float scale) = nullptr;
  // out[c] = factor * row[c]
  void (*scale_row)(const float* row, int64_t count, float factor, float* out) = nullptr;
};

struct TargetOps : ProductOps, BlockOps, IntegerOps, RowOps {};

// The tables of a target (targets.h).
ProductOps product_ops(int64_t target);
BlockOps block_ops(int64_t target);
IntegerOps integer_ops(int64_t target);
RowOps row_ops(int64_t target);

}  // namespace slim
