// How a decoding step over rows that stand alone is cut for the one-read kernel (decode_rows.h).
// The kernel's clusters each walk a *run* of pages, segment by segment; the longest run decides how
// long all takes, and a query that is cut into several segments costs a merge. So
//   queries that read the same rows (beams over an encoder's output, tokens of a prompt) make a
//     *family*; where all families are of one size, a *team* of as many clusters walks the same
//     pages at the same time, each for a query of its own: all but one find them in the L2 cache;
//   families are given out whole, if that makes no run longer than the mean by more than what
//     merging costs, and are cut into equal runs otherwise.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/kernels.h"

namespace slim::cuda {

// Neighbouring pages of one sequence, for one query.
struct RowSegment {
  int32_t first_place = 0;  // in RowArguments::places
  int32_t page_count = 0;
  int32_t rows = 0;   // in these pages; the last page may be filled in part
  int32_t token = 0;  // row of the queries
  int32_t slot = 0;   // of the sums; -1: the whole query, which goes to the result at once
};

struct RowWork {
  std::vector<const std::byte*> pages;    // by place
  std::vector<RowSegment> segments;       // by cluster
  std::vector<int32_t> cluster_segments;  // [clusters + 1]: where each cluster's begin
  std::vector<int32_t> merged;            // tokens whose segments are added up
  std::vector<int32_t> first_slot;        // [merged + 1]: a token's slots are neighbours

  int64_t clusters() const { return std::ssize(cluster_segments) - 1; }
  int64_t slots() const { return first_slot.back(); }
};

// For the slices of an Attend, on at most `clusters`. at_once: whether a query in one segment may
// pass by the merge.
RowWork cut_rows(std::span<const Slice> slices, bool causal, bool at_once, int64_t clusters);

}  // namespace slim::cuda
