// The rebuilt path of the K-cache: many queries of one sequence. Values are computed from rows,
// page by page, in f32 scratch pages, and attended there as kv would. What is read is the same as
// on the fused path: of the queries' own pages the f32 rows, before them what the sealed pages
// decode to.
#include <algorithm>

#include "attention/k_attention.h"
#include "base/check.h"

namespace slim {
namespace {

// Rebuilding costs e^2 multiply-adds per cached row, fused mixing H e more than kv per cached row
// and query: they would meet at e / H = C queries, and do so earlier, for its product is the larger
// one. Measured with two threads, C = 64, 1024 rows of i16 or i12: 32 to 45 queries.
constexpr double kQueriesPerHeadColumn = 0.625;

}  // namespace

// Pages in scratch: [key, spill] rows, the values beside them, and one factor a row where keys are
// normed. All keys lie behind one another, and so do all values, so that one product serves them.
class ScratchPages {
 public:
  ScratchPages(StepScratch& scratch, int64_t rows, int64_t width, bool factors) {
    const int64_t pages = (rows + kPageRows - 1) / kPageRows;
    const int64_t all = pages * kPageRows;
    const Matrix memory = scratch.matrix(all * (factors ? 3 : 2), width);
    const auto page_bytes = kPageRows * width * int64_t{sizeof(float)};
    for (int64_t i = 0; i < pages; ++i) addresses_.push_back(memory.data + i * page_bytes);
    keys_ = memory.rows_from(0, rows);
    values_ = memory.rows_from(all, rows);
    key_plane = {{DType::f32, width}, 0};
    value_plane = {{DType::f32, width}, pages * page_bytes};
    // Pages are `page_bytes` apart here too, so that this part of the memory is mostly gaps.
    factor_plane = {{DType::f32, 1}, 2 * pages * page_bytes};
  }

  Matrix keys(int64_t begin, int64_t count) const { return keys_.rows_from(begin, count); }
  Matrix values(int64_t columns) const { return values_.columns_from(0, columns); }
  Matrix factors(int64_t page, int64_t count) const {
    return {addresses_[static_cast<size_t>(page)] + factor_plane.offset, DType::f32, count, 1, 1};
  }
  std::byte* const* pages() const { return addresses_.data(); }
  std::byte* page(int64_t index) const { return addresses_[static_cast<size_t>(index)]; }

  Plane key_plane;
  Plane value_plane;
  Plane factor_plane;

 private:
  Matrix keys_;
  Matrix values_;
  std::vector<std::byte*> addresses_;
};

bool KAttention::rebuilds(const Slice& slice) const {
  return seals() && static_cast<double>(slice.count) >=
                        kQueriesPerHeadColumn * static_cast<double>(spec().head_width);
}

void KAttention::rebuild_values(ConstMatrix rows, Matrix values) const {
  Linear map = product_of(rows.columns_from(0, keys()), derived_.value_map, values);
  map.bias = values_or_null(weights().v.bias);
  kernels().linear(map);
  if (spill_ == 0) return;
  kernels().linear({.x = rows.columns_from(keys(), spill_),
                    .weight = derived_.spill_map.matrix(),
                    .y = values,
                    .accumulate = true});
}

void KAttention::attend_rebuilt(const Block& block, StepScratch& scratch) {
  check(block.slices.size() == 1, "slices of many queries come alone");
  Attend pair = over_keys(block);
  pair.lse = scratch.matrix(block.queries.rows, spec().heads);
  attend_own_pages(block, pair);
  attend_earlier_pages(block.slices.front(), pair);
}

void KAttention::attend_own_pages(const Block& block, Attend pair) {
  StepScratch scratch(kernels().device());
  const Slice& slice = block.slices.front();
  const int64_t first = slice.rows - slice.count;
  const int64_t begin = first % kPageRows;  // rows of the first page that were there before
  const ScratchPages pages(scratch, begin + slice.count, width(), normed());
  if (begin > 0) {
    Slice open;
    open.rows = begin;
    open.pages = &slice.hot;
    kernels().load_rows({.plane = hot_planes().at(0), .slice = open, .y = pages.keys(0, begin)});
    if (normed()) {
      kernels().load_rows(
          {.plane = hot_planes().at(1), .slice = open, .y = pages.factors(0, begin)});
    }
  }
  project_rows(block.x, pages.keys(begin, slice.count));
  Matrix factors;
  if (normed()) {
    factors = project_factors(pages.keys(begin, slice.count).columns_from(0, keys()), scratch);
    Slice inner = slice;
    inner.rows = begin + slice.count;
    inner.pages = pages.pages();
    kernels().store_rows({.x = factors, .plane = pages.factor_plane, .slices = {&inner, 1}});
  }
  rebuild_values(pages.keys(0, begin + slice.count), pages.values(keys()));

  std::vector<Slice> parts;
  for (int64_t done = 0; done < slice.count;) {
    const int64_t row = begin + done;
    Slice part = slice;
    part.first += done;
    part.count = std::min(slice.count - done, kPageRows - row % kPageRows);
    part.rows = row % kPageRows + part.count;
    part.pages = pages.pages() + row / kPageRows;
    part.position += done;
    part.base += first + done - row % kPageRows;
    done += part.count;
    parts.push_back(part);
  }
  pair.slices = parts;
  pair.keys = pages.key_plane;
  pair.values = pages.value_plane;
  pair.key_factors = normed() ? &pages.factor_plane : nullptr;
  kernels().attend_pair(pair);
  store_own_pages(slice, pages, factors);
}

// Seals the pages that are full, and leaves the rows of the last one, if it is not, in the hot
// page.
void KAttention::store_own_pages(const Slice& slice, const ScratchPages& pages,
                                 ConstMatrix factors) {
  const int64_t first = slice.rows - slice.count;
  const int64_t begin = first % kPageRows;
  const int64_t end = begin + slice.count;
  std::vector<SealPages::Page> full;
  for (int64_t page = 0; page < end / kPageRows; ++page) {
    full.push_back({pages.page(page), slice.pages[first / kPageRows + page]});
  }
  if (!full.empty()) {
    kernels().seal_pages(
        {.from = pages.key_plane, .to = planes().at(0), .shaping = shaping(0), .pages = full});
  }
  if (normed()) {
    kernels().store_rows({.x = factors, .plane = planes().at(1), .slices = {&slice, 1}});
  }
  if (end % kPageRows == 0) return;
  const int64_t from = std::max(begin, end / kPageRows * kPageRows);
  Slice open;
  open.count = end - from;
  open.rows = end % kPageRows;
  open.pages = &slice.hot;
  kernels().store_rows(
      {.x = pages.keys(from, open.count), .plane = hot_planes().at(0), .slices = {&open, 1}});
  if (!normed()) return;
  kernels().store_rows({.x = factors.rows_from(from - begin, open.count),
                        .plane = hot_planes().at(1),
                        .slices = {&open, 1}});
}

void KAttention::attend_earlier_pages(const Slice& slice, Attend pair) {
  StepScratch scratch(kernels().device());
  const int64_t first = slice.rows - slice.count;
  const int64_t last_page = (slice.rows - 1) / kPageRows;  // of the last query: not sealed for it
  int64_t page = 0;
  if (spec().window > 0) {
    page = std::max<int64_t>(0, slice.position - spec().window + 1 - slice.base) / kPageRows;
  }
  if (page >= last_page) return;
  // Products reach their full speed with so many rows (256: 17 MiB at a width of 4096).
  const int64_t tile = std::min(kernels().prompt_sizes().rows / kPageRows, last_page - page);
  const ScratchPages pages(scratch, tile * kPageRows, width(), normed());
  pair.keys = pages.key_plane;
  pair.values = pages.value_plane;
  pair.key_factors = normed() ? &pages.factor_plane : nullptr;
  pair.causal = false;
  pair.merge = true;
  for (; page < last_page; page += tile) {
    const int64_t count = std::min(tile, last_page - page);
    const Matrix rows = pages.keys(0, count * kPageRows);
    kernels().load_rows(
        {.plane = planes().at(0), .slice = slice, .begin = page * kPageRows, .y = rows});
    for (int64_t i = 0; normed() && i < count; ++i) {
      kernels().load_rows({.plane = planes().at(1),
                           .slice = slice,
                           .begin = (page + i) * kPageRows,
                           .y = pages.factors(i, kPageRows)});
    }
    rebuild_values(rows, pages.values(keys()).rows_from(0, rows.rows));
    // Queries in pages of this tile see what lies before them, those after it see all of it.
    std::vector<Slice> parts;
    for (int64_t seen = 1; seen <= count; ++seen) {
      Slice part = slice;
      const int64_t from = std::max(first, (page + seen) * kPageRows);
      const int64_t to =
          seen == count ? slice.rows : std::min(slice.rows, (page + seen + 1) * kPageRows);
      if (from >= to) continue;
      part.first += from - first;
      part.count = to - from;
      part.rows = seen * kPageRows;
      part.pages = pages.pages();
      part.position += from - first;
      part.base += page * kPageRows;
      parts.push_back(part);
    }
    pair.slices = parts;
    kernels().attend_pair(pair);
  }
}

}  // namespace slim
