// Int16PanelOps: an encoder's attention in 16-bit integers (Inputs::i16), on every target. Two
// products are added to a 32-bit sum by one instruction or two, and sums are exact.
//
// Queries and keys. A row v of n numbers is rounded to v ~ s i, i integers,
//   s = max(|v|_2 / 46000, max |v| / 32767),
// off by s / 2 a number. So |i|_2 <= 46000 + sqrt(n) / 2, and by Cauchy and Schwarz every partial
// sum of a query's products with a key is below 2^31 for n < 65,536.
//
// Weights and values. Values are rounded with s = max |v| / 32767 a row. Of a chunk of kChunkRows
// rows, weights w_r >= 0 (f32, each off by 2^-18 of itself) become integers with their rows' s:
//   u_r = w_r s_r,  p_r = round(u_r / t),  t = max(sum u / (65536 - 64), max u / 32767)
// Then sum p <= 65536 and |sum p i| < 2^31. u is off by t / 2, which is 2^-17 of its sum over the
// chunk, or 2^-16 of its largest. They are divided by the sum of w, not of integers. A chunk whose
// u are below 2^-110 of the largest weight with the largest s is left out.
//
// A row with a NaN or infinity has s = NaN and zeros for i, so that all it is multiplied with is
// NaN: a query's result, or, of keys and values, those of all queries of that head and run. One
// without a number of 2^-110 or more counts as zeros.
#pragma once

#include <cstdint>

#include "kernels/cpu/targets.h"
#include "tensor/tensor.h"

namespace slim {

constexpr int64_t kChunkRows = 64;

// Numbers of a query or key, filled up to an even number with zeros.
constexpr int64_t key_depth(int64_t columns) { return (columns + 1) / 2 * 2; }

// A panel is as in target_ops.h, of `width` outputs, but for words of two numbers, neighbours in
// depth, which is filled up to an even one with zeros: panel[(k / 2 * width + n) * 2 + k % 2].
//   queries: an output each; `width` of them, or fewer, are a tile
//   values:  columns are outputs, rows depth; panels of a chunk lie together, chunk after chunk
// A tile's scores of a chunk are [rows, width] f32, its weights [rows / 2, width] words.

// scores[s, n] = query n . key s, but for the scales of queries, and the largest of keys.
struct Int16PanelScoring {
  const int16_t* queries = nullptr;  // a panel
  const int16_t* keys = nullptr;     // [rows, depth]
  const float* key_scales = nullptr;
  int64_t rows = 0;   // of the chunk, 1 to kChunkRows
  int64_t depth = 0;  // even
  float* scores = nullptr;
  float* largest = nullptr;  // of scores, of each query
};

// scores[s, n] = units[n] * scores[s, n] + biases[s * stride + n]
struct Int16Biases {
  float* scores = nullptr;
  int64_t rows = 0;
  const float* units = nullptr;
  const float* biases = nullptr;
  int64_t stride = 0;
  float* largest = nullptr;  // as above, of the new scores
};

// The softmax of each query of a tile: weights are 2^(factor * score - largest).
struct Int16Softmax {
  float* factors = nullptr;  // >= 0, or NaN: as its sum becomes
  float* largest = nullptr;  // factor * score so far; -3e38 at first
  float* sums = nullptr;     // of weights so far
  float* kept = nullptr;     // what the last chunk has made of weights before it
  float* steps = nullptr;    // t of the last chunk
};

// A chunk's scores become weights, and then integers.
struct Int16Weighing {
  const float* largest = nullptr;  // of scores, of each query
  float* scores = nullptr;         // overwritten, with a row behind them if `rows` is odd
  int64_t rows = 0;
  const float* value_scales = nullptr;
  Int16Softmax softmax;
  int16_t* weights = nullptr;
};

// mixed[n, c] = kept[n] * mixed[n, c] + t[n] * sum_s weights[s, n] * value s [c]
struct Int16PanelMixing {
  const int16_t* weights = nullptr;
  Int16Softmax softmax;
  int64_t count = 0;  // of queries
  int64_t rows = 0;
  const int16_t* panels = nullptr;
  int64_t panel_count = 0;
  float* mixed = nullptr;
  int64_t stride = 0;
};

struct Int16PanelOps {
  int64_t width = 0;  // of a panel
  // Integers of keys, key_depth() apart, and of at most `width` queries. Up to a panel's width of
  // numbers behind the last key's are written, too.
  float (*pack_keys)(const ConstMatrix& keys, int16_t* rows, float* scales) = nullptr;
  void (*pack_queries)(const ConstMatrix& queries, int16_t* panel, float* scales) = nullptr;
  float (*pack_values)(const ConstMatrix& values, int16_t* panels, float* scales) = nullptr;
  void (*score)(const Int16PanelScoring& scoring) = nullptr;
  void (*add_biases)(const Int16Biases& biases) = nullptr;
  void (*weigh)(const Int16Weighing& weighing) = nullptr;
  void (*mix)(const Int16PanelMixing& mixing) = nullptr;
};

Int16PanelOps int16_panel_ops(Target target);

}  // namespace slim
