// Operations on rows that know nothing of each other: shared out by rows.
#include <algorithm>

#include "base/check.h"
#include "kernels/cpu/dense.h"

namespace slim {
namespace {

constexpr int64_t kLeastElements = int64_t{16} * 1024;  // in a task: some microseconds

int64_t rows_per_task(int64_t columns) {
  return std::max<int64_t>(1, kLeastElements / std::max<int64_t>(1, columns));
}

template <typename Arguments>
void over_rows(const CpuContext& context, const Arguments& arguments,
               void (*run)(const Arguments& arguments, int64_t begin, int64_t end)) {
  if (arguments.y.columns == 0) return;
  context.pool.parallel_for(arguments.y.rows, rows_per_task(arguments.y.columns),
                            [&](int64_t begin, int64_t end, int) { run(arguments, begin, end); });
}

}  // namespace

void run_norm(const CpuContext& context, const Norm& norm) {
  check(norm.y.rows == norm.x.rows && norm.y.columns == norm.x.columns,
        "a norm's y has the shape of its x");
  over_rows(context, norm, context.ops.norm);
}

void run_embed(const CpuContext& context, const Embed& embedding) {
  check(embedding.ids.size() == embedding.places.size(), "every embedded token has a place");
  check(embedding.y.rows == static_cast<int64_t>(embedding.ids.size()),
        "an embedding's y has a row for each token");
  check(embedding.y.columns == embedding.table.columns &&
            embedding.y.columns == embedding.positions.columns,
        "an embedding's tables have the columns of its y");
  over_rows(context, embedding, context.ops.embed);
}

void run_log_softmax(const CpuContext& context, const LogSoftmax& softmax) {
  check(softmax.y.rows == softmax.x.rows && softmax.y.columns == softmax.x.columns,
        "a softmax's y has the shape of its x");
  over_rows(context, softmax, context.ops.log_softmax);
}

}  // namespace slim
