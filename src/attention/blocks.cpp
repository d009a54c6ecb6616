// Intersects slices with runs of tokens.
#include "attention/blocks.h"

#include <algorithm>
#include <vector>

namespace slim {

void for_blocks(std::span<const Slice> slices, int64_t tokens, int64_t limit, bool causal,
                FunctionRef<void(int64_t first, int64_t count, std::span<const Slice>)> body) {
  if (tokens <= limit) return body(0, tokens, slices);
  std::vector<Slice> cut;
  for (int64_t first = 0; first < tokens; first += limit) {
    const int64_t end = std::min(tokens, first + limit);
    cut.clear();
    for (const Slice& slice : slices) {
      const int64_t from = std::max(first, slice.first);
      const int64_t to = std::min(end, slice.first + slice.count);
      if (from >= to) continue;
      Slice part = slice;
      part.first = from - first;
      part.count = to - from;
      part.position += from - slice.first;
      if (causal) part.rows -= slice.first + slice.count - to;
      cut.push_back(part);
    }
    body(first, end - first, cut);
  }
}

}  // namespace slim
