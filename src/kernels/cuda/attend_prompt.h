// Attention of many queries by rows of their own heads, on tensor cores (prompt_tiles.cuh): prompts
// over a standard cache or over values that were rebuilt, and an encoder's own attention.
#pragma once

#include <vector>

#include "kernels/cuda/attend_parts.cuh"

namespace slim {

struct PromptCall {
  AttendView view;  // without slices, pages and rotations, which are here
  RowFormat keys, values;
  SliceTables tables;
  std::vector<CudaRotation> rotations;
  int parts = 2;  // f16 numbers that queries, rows and weights are taken apart into
};

// Whether slices with many tokens may be attended so: rows that stand alone, of heads of up to 128
// columns that mix as many.
bool suits_prompts(const AttendView& view, const RowFormat& keys, const RowFormat& values);
// Whether a slice has so many tokens that it is faster.
bool is_prompt(int64_t tokens);
// Whether mixtures may take the place of the queries that attend to so many rows: otherwise these
// are read again after some have been written.
bool reads_queries_once(const AttendView& view, int64_t rows);
void attend_prompts(CudaDevice& device, PromptCall call);

}  // namespace slim
