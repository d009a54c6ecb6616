// Sealed rows: how a step runs over planes that are sealed page by page. A query reads the sealed
// pages before its own, and of its own page the f32 rows up to itself (the reading rule of
// scheme.h). So a step walks its slices by pages, all of them together, round by round:
//   1. the tokens of a slice that lie in one page: their rows go into the hot page,
//   2. their queries attend the hot page, causally,
//   3. a page that is full is sealed, and the hot page is free for the next round.
// In the end one call lets all queries attend the sealed pages before theirs, and merges.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "attention/step_scratch.h"
#include "kernels/kernels.h"

namespace slim {

// What a step adds to one plane of a layer that seals.
struct NewRows {
  ConstMatrix rows;  // [T, width] f32
  Plane plane;       // in pages; if it is not sealed, every row is written to it at once
  Plane hot;         // in the hot page
  const Shaping* shaping = nullptr;
};

// Attention of a step over the planes that it adds rows to.
struct SealedStep {
  Attend attend;                  // all but planes, causal, lse and merging; causal self-attention
  std::span<const NewRows> rows;  // by plane
  size_t keys = 0;                // which of them
  size_t values = 0;
  std::optional<size_t> factors = {};
  bool shared = false;  // keys and values are the same rows: attend_shared
};

// Stores, seals and attends. Afterwards attend.mixed holds the result over all rows each query
// sees.
void attend_sealed(Kernels& kernels, const SealedStep& step, StepScratch& scratch);

// The queries of `slices` page by page, each over the sealed rows before its page: for an Attend
// that is not causal. Pages that a window hides from all of a page's queries are left out.
std::vector<Slice> sealed_before(std::span<const Slice> slices, int64_t window);

}  // namespace slim
