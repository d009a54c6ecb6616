// The plans of seal_pages and load_rows. Sealing takes two passes: scales of channels first, which
// need all rows of a page, then the rows, in parts of kSealRows: so that two threads share the one
// page that a decoding step seals at a time. Bytes depend on neither.
#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "kernels/cpu/attend.h"
#include "kernels/cpu/page_ops.h"
#include "kernels/cpu/rounding.h"

namespace slim {
namespace {

// Channels whose scales a worker finds at once, and rows that it loads: 100 KB or so.
constexpr int64_t kScaleColumns = 256;
constexpr int64_t kLoadRows = 8;

}  // namespace

void run_seal_pages(const CpuContext& context, const SealPages& arguments) {
  const Plane& from = arguments.from;
  const Plane& to = arguments.to;
  const Shaping* const shaping = arguments.shaping;
  const std::span<const SealPages::Page> pages = arguments.pages;
  const RowFormat& format = to.format;
  check(format.valid() && format.sealed(), "only sealed rows are made a page at a time");
  check(from.format == format.hot(), "pages are sealed from f32 rows of their width");
  const bool channels = format.scaling == Scaling::channel;
  check(shaping == nullptr || channels, "rounding is shaped where channels have scales");
  check(shaping == nullptr || shaping->width == format.width, "rounding is shaped over whole rows");
  const PageOps ops = page_ops(context.target);
  const auto rows_of = [&](const SealPages::Page& page) {
    return reinterpret_cast<const float*>(page.from + from.offset);
  };
  const int64_t count = static_cast<int64_t>(pages.size());
  const int64_t strips = ceil_div(format.width, kScaleColumns);
  const int64_t used = format.plane_bytes() + 2 * format.scale_count();
  if (channels) {
    context.pool.parallel_for(count * strips, 1, [&](int64_t first, int64_t last, int) {
      for (int64_t i = first; i < last; ++i) {
        const SealPages::Page& page = pages[static_cast<size_t>(i / strips)];
        const int64_t begin = i % strips * kScaleColumns;
        ops.seal_scales(format, rows_of(page), begin, std::min(begin + kScaleColumns, format.width),
                        page.to + to.offset);
      }
    });
  }
  constexpr int64_t kParts = kPageRows / kSealRows;
  ScratchSets::Lease lease(context.scratch);
  context.pool.parallel_for(count * kParts, 1, [&](int64_t first, int64_t last, int worker) {
    float* scratch = lease.of(worker).floats(seal_floats(format, shaping));
    for (int64_t i = first; i < last; ++i) {
      const SealPages::Page& page = pages[static_cast<size_t>(i / kParts)];
      std::byte* plane = page.to + to.offset;
      ops.seal_rows({&format, rows_of(page), shaping, plane, i % kParts * kSealRows, scratch});
      if (channels && i % kParts == 0) std::memset(plane + used, 0, format.page_bytes() - used);
    }
  });
}

void run_load_rows(const CpuContext& context, const LoadRows& arguments) {
  const Plane& plane = arguments.plane;
  const Slice& slice = arguments.slice;
  const int64_t begin = arguments.begin;
  const Matrix& y = arguments.y;
  check(plane.format.valid(), "a plane's format can hold its rows");
  check(begin >= 0 && begin + y.rows <= slice.rows, "only rows of the slice are loaded");
  check(y.columns == plane.format.width, "loaded rows have the width of their plane");
  const PageOps ops = page_ops(context.target);
  context.pool.parallel_for(y.rows, kLoadRows, [&](int64_t first, int64_t last, int) {
    for (int64_t i = first; i < last; ++i) {
      const int64_t row = begin + i;
      ops.decode_row(plane.format, slice.pages[row / kPageRows] + plane.offset, row % kPageRows,
                     y.row<float>(i));
    }
  });
}

}  // namespace slim
