// Operations on rows that know nothing of each other: shared out by rows.
#include <algorithm>
#include <atomic>
#include <limits>
#include <numeric>

#include "base/check.h"
#include "kernels/candidate_check.h"
#include "kernels/cpu/dense.h"

namespace slim {
namespace {

constexpr int64_t kLeastElements = int64_t{16} * 1024;  // in a task: some microseconds

int64_t rows_per_task(int64_t columns) {
  return std::max<int64_t>(1, kLeastElements / std::max<int64_t>(1, columns));
}

// `result` is what the operation writes.
template <typename Arguments>
void over_rows(const CpuContext& context, const Arguments& arguments, const Matrix& result,
               void (*run)(const Arguments& arguments, int64_t begin, int64_t end)) {
  if (result.columns == 0) return;
  context.pool.parallel_for(result.rows, rows_per_task(result.columns),
                            [&](int64_t begin, int64_t end, int) { run(arguments, begin, end); });
}

}  // namespace

void run_norm(const CpuContext& context, const Norm& norm) {
  check(norm.y.rows == norm.x.rows && norm.y.columns == norm.x.columns,
        "a norm's y has the shape of its x");
  check(norm.groups > 0 && norm.x.columns % norm.groups == 0, "groups divide the columns");
  check(norm.inverse == nullptr || norm.groups == 1, "a row has one inverse");
  over_rows(context, norm, norm.y, context.ops.norm);
}

void run_gate(const CpuContext& context, const Gate& gate) {
  for (const ConstMatrix& other : {gate.gate, gate.up}) {
    check(other.rows == gate.y.rows && other.columns == gate.y.columns,
          "a gate's matrices have one shape");
  }
  over_rows(context, gate, gate.y, context.ops.gate);
}

void run_clamp(const CpuContext& context, const Clamp& clamp) {
  check(clamp.limit > 0.0F, "values are held within a positive limit");
  over_rows(context, clamp, clamp.x, context.ops.clamp);
}

void run_rotate(const CpuContext& context, const Rotate& rotate) {
  const auto& [x, positions, rotation, head_width, y] = rotate;
  check(rotation != nullptr && rotation->width() <= head_width, "a head has columns to rotate");
  check(y.rows == x.rows && y.columns == x.columns && std::ssize(positions) == x.rows &&
            x.columns % head_width == 0,
        "rows of whole heads are rotated, each to its position");
  for (const int32_t position : positions) {
    check(position >= 0 && position <= rotation->positions(),
          "a rotation holds for the positions it has");
  }
  over_rows(context, rotate, y, context.ops.rotate);
}

void run_embed(const CpuContext& context, const Embed& embedding) {
  const auto& [ids, table, scale, factor, places, positions, y] = embedding;
  check((table.type == DType::i8) == (scale != nullptr), "a table of i8, and no other, has scales");
  check(positions.rows == 0 || ids.size() == places.size(), "every embedded token has a place");
  check(y.rows == std::ssize(ids), "an embedding's y has a row for each token");
  check(y.columns == table.columns && (positions.rows == 0 || y.columns == positions.columns),
        "an embedding's tables have the columns of its y");
  over_rows(context, embedding, y, context.ops.embed);
}

void run_log_softmax(const CpuContext& context, const LogSoftmax& softmax) {
  check(softmax.y.rows == softmax.x.rows && softmax.y.columns == softmax.x.columns,
        "a softmax's y has the shape of its x");
  over_rows(context, softmax, softmax.y, context.ops.log_softmax);
}

void run_forbid(const Forbid& forbid) {
  check_forbid(forbid);
  const Matrix& x = forbid.x;
  for (const auto& [row, begin, end] : forbid.columns) {
    const int64_t last = row < 0 ? x.rows : row + 1;
    for (int64_t t = std::max(row, 0); t < last; ++t) {
      std::fill(x.row<float>(t) + begin, x.row<float>(t) + end,
                -std::numeric_limits<float>::infinity());
    }
  }
}

void run_find_candidates(const CpuContext& context, const FindCandidates& find) {
  check_candidates(find);
  if (find.x.rows == 0) return;
  context.pool.parallel_for(
      find.x.rows, rows_per_task(find.x.columns),
      [&](int64_t begin, int64_t end, int) { context.ops.find_candidates(find, begin, end); });
}

// Plain code: one addition for 16 bytes keeps up with any memory.
void run_sum_words(const CpuContext& context, const SumWords& arguments) {
  constexpr int64_t kWordsPerTask = int64_t{1} << 18;
  std::atomic<uint32_t> total{0};
  context.pool.parallel_for(arguments.count, kWordsPerTask, [&](int64_t begin, int64_t end, int) {
    total += std::accumulate(arguments.words + begin, arguments.words + end, uint32_t{0});
  });
  *arguments.sum += total;
}

}  // namespace slim
