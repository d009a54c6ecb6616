// Bfloat16Ops: products of numbers rounded to bf16, summed in f32, where the processor has an
// instruction for two of them at once (AVX512_BF16); elsewhere there are none. They run at twice
// the rate of f32: attend_kernel.cpp uses them over rows that are bf16 as they lie, and
// attend_dense.cpp over panels.
//
// The instruction takes what is below 2^-126 as zero, and rounds every sum to nearest even.
#pragma once

#include <cstdint>

#include "kernels/cpu/prefetch.h"
#include "kernels/cpu/targets.h"
#include "tensor/dtype.h"
#include "tensor/tensor.h"

namespace slim {

constexpr int64_t kRoundedQueries = 6;   // at a time, at most
constexpr int64_t kRoundedColumns = 32;  // rows have a multiple of so many

// weights[q][s] = scale * queries[q] . row s, for begin <= s < end; up to three weights behind are
// written as well.
struct RoundedScoring {
  const BFloat16* const* queries = nullptr;
  float* const* weights = nullptr;
  const BFloat16* rows = nullptr;  // of a tile
  int64_t stride = 0;
  int64_t begin = 0;
  int64_t end = 0;
  int64_t width = 0;
  float scale = 1.0F;
};

// mixed[q][c] += sum of weights[q][s] * row s [c], for begin <= s < end and c < width.
struct RoundedMixing {
  const BFloat16* const* weights = nullptr;  // by row of the tile
  float* const* mixed = nullptr;
  const BFloat16* rows = nullptr;
  int64_t stride = 0;
  int64_t begin = 0;
  int64_t end = 0;
  int64_t width = 0;
};

// A panel is as in target_ops.h, of kRoundedPanel outputs, but for words of two numbers that are
// neighbours in depth, which is filled up to an even one with zeros:
// panel[(k / 2 * kRoundedPanel + n) * 2 + k % 2].
constexpr int64_t kRoundedPanel = 32;

// tile[t, n] = sum_k a[t * a_stride + k] * panel[k, n], for every panel.
struct RoundedPanelProduct {
  const BFloat16* a = nullptr;
  int64_t a_stride = 0;
  int64_t rows = 0;
  int64_t depth = 0;  // even
  const BFloat16* panels = nullptr;
  int64_t panel_count = 0;
  float* tile = nullptr;
  int64_t tile_stride = 0;
};

struct Bfloat16PanelOps {
  // `count` numbers, to nearest even, and zeros up to the next multiple of 32.
  void (*round)(const float* from, int64_t count, BFloat16* to) = nullptr;
  // Panels of an f32 matrix whose rows are outputs, and of one whose columns are.
  void (*pack_rows)(const ConstMatrix& matrix, BFloat16* panels) = nullptr;
  void (*pack_columns)(const ConstMatrix& matrix, BFloat16* panels) = nullptr;
  void (*multiply_panels)(const RoundedPanelProduct& product) = nullptr;
  // to[s] = exp(scale * row[s] - max(scale * row)), rounded, and zeros up to the next multiple of
  // 32, up to where `row` is written as well; returns their sum. scale > 0.
  float (*exponentiate)(float* row, int64_t count, float scale, BFloat16* to) = nullptr;
};

struct Bfloat16Ops : Bfloat16PanelOps {
  // Of `queries` queries, 1 to kRoundedQueries.
  void (*score)(const RoundedScoring& scoring, int64_t queries, Prefetch& prefetch) = nullptr;
  void (*mix)(const RoundedMixing& mixing, int64_t queries, Prefetch& prefetch) = nullptr;
};

// Of this target, on this processor.
bool has_bfloat16_ops(Target target);
// The table for a target; empty where there are none.
Bfloat16Ops bfloat16_ops(Target target);
// Part of it, of a processor that has them (bfloat16_panels.cpp).
Bfloat16PanelOps bfloat16_panel_ops(Target target);

}  // namespace slim
