// The plan of store_rows: every row is encoded on its own; workers share them out.
#include <algorithm>

#include "base/check.h"
#include "kernels/cpu/attend.h"
#include "kernels/cpu/page_ops.h"

namespace slim {
namespace {

// Rows a worker takes at once: about 5 us of encoding at 384 columns, well above a hand-over.
constexpr int64_t kRowGrain = 32;

}  // namespace

void run_store_rows(const CpuContext& context, const StoreRows& arguments) {
  const ConstMatrix& x = arguments.x;
  const Plane& plane = arguments.plane;
  const std::span<const Slice> slices = arguments.slices;
  check(plane.format.valid() && !plane.format.sealed() && x.columns == plane.format.width,
        "stored rows stand alone and have the width of their plane");
  int64_t longest = 0;
  for (const Slice& slice : slices) {
    check(slice.first >= 0 && slice.count >= 0 && slice.first + slice.count <= x.rows,
          "a slice's tokens lie within the step");
    check(slice.count <= slice.rows, "stored rows are among those of their slice");
    longest = std::max(longest, slice.count);
  }
  const PageOps ops = page_ops(context.target);
  const int64_t row_bytes = plane.format.bytes();
  // Numbered as if all slices were as long as the longest.
  const int64_t count = static_cast<int64_t>(slices.size()) * longest;
  context.pool.parallel_for(count, kRowGrain, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const Slice& slice = slices[static_cast<size_t>(i / longest)];
      const int64_t token = i % longest;
      if (token >= slice.count) continue;
      const int64_t row = slice.rows - slice.count + token;
      ops.encode(plane.format, x.row<float>(slice.first + token),
                 slice.pages[row / kPageRows] + plane.offset + row % kPageRows * row_bytes);
    }
  });
}

}  // namespace slim
