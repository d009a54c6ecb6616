// Bfloat16Ops: products of numbers rounded to bf16, summed in f32, where the processor has an
// instruction for two of them at once (AVX512_BF16); elsewhere there are none. attend_kernel.cpp
// uses them over rows that are bf16 as they lie, at twice the rate of f32.
//
// The instruction takes what is below 2^-126 as zero, and rounds every sum to nearest even.
#pragma once

#include <cstdint>

#include "kernels/cpu/prefetch.h"
#include "kernels/cpu/targets.h"
#include "tensor/dtype.h"

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

struct Bfloat16Ops {
  // `count` numbers, to nearest even; a multiple of 16.
  void (*round)(const float* from, int64_t count, BFloat16* to) = nullptr;
  // Of `queries` queries, 1 to kRoundedQueries.
  void (*score)(const RoundedScoring& scoring, int64_t queries, Prefetch& prefetch) = nullptr;
  void (*mix)(const RoundedMixing& mixing, int64_t queries, Prefetch& prefetch) = nullptr;
};

// Of this target, on this processor.
bool has_bfloat16_ops(Target target);
// The table for a target; empty where there are none.
Bfloat16Ops bfloat16_ops(Target target);

}  // namespace slim
