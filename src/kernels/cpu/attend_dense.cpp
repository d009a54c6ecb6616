// The encoder's self-attention. A task is some queries of one head: it packs the head's keys and
// values into panels, then takes a few queries at a time so that their scores stay in the
// second-level cache between the three passes: score, exponentiate, mix. The division by the sum
// comes last, on C values instead of S.
#include <algorithm>

#include "base/check.h"
#include "kernels/cpu/dense.h"
#include "kernels/cpu/distance_bias.h"
#include "kernels/cpu/rounding.h"

namespace slim {
namespace {

constexpr int64_t kTasksPerThread = 4;
constexpr int64_t kLeastQueries = 96;  // in a task: packing is then below 10 %

// One head of one run.
struct Head {
  ConstMatrix q;
  ConstMatrix k;
  ConstMatrix v;
  Matrix out;
  float scale;
  HeadBias bias;
  std::span<const int32_t> places;  // of the run's rows, or none
};

Head head_of(const AttendDense& dense, int64_t index) {
  const int64_t rows = dense.q.rows / dense.batch;
  const int64_t first = index / dense.heads * rows;
  const int64_t width = dense.q.columns / dense.heads;
  const int64_t column = index % dense.heads * width;
  return {.q = dense.q.rows_from(first, rows).columns_from(column, width),
          .k = dense.k.rows_from(first, rows).columns_from(column, width),
          .v = dense.v.rows_from(first, rows).columns_from(column, width),
          .out = dense.out.rows_from(first, rows).columns_from(column, width),
          .scale = dense.scale,
          .bias = {dense.bias.values == nullptr ? nullptr : dense.bias.of_head(index % dense.heads),
                   dense.bias.reach},
          .places = dense.places.empty() ? dense.places
                                         : dense.places.subspan(static_cast<size_t>(first),
                                                                static_cast<size_t>(rows))};
}

// Where a task's arrays lie in its scratch, in floats.
struct Layout {
  Layout(const CpuContext& context, int64_t rows, int64_t width)
      : key_panels(ceil_div(rows, context.ops.panel_width)),
        value_panels(ceil_div(width, context.ops.panel_width)),
        score_stride(key_panels * context.ops.panel_width),
        mix_stride(value_panels * context.ops.panel_width),
        step(4 * context.ops.row_group),
        values(score_stride * width),
        scores(values + mix_stride * rows),
        mixed(scores + step * score_stride),
        total(mixed + step * mix_stride) {}
  int64_t key_panels;
  int64_t value_panels;
  int64_t score_stride;
  int64_t mix_stride;
  int64_t step;    // queries at a time
  int64_t values;  // keys are at 0
  int64_t scores;
  int64_t mixed;
  int64_t total;
};

void attend_queries(const CpuContext& context, const Head& head, const Layout& layout,
                    int64_t first, int64_t count, float* scratch) {
  const int64_t rows = head.k.rows;
  const int64_t width = head.k.columns;
  float* scores = scratch + layout.scores;
  float* mixed = scratch + layout.mixed;
  context.ops.multiply_panels({.a = head.q.row<float>(first),
                               .a_stride = head.q.stride,
                               .rows = count,
                               .depth = width,
                               .panels = scratch,
                               .panel_count = layout.key_panels,
                               .panel_stride = width * context.ops.panel_width,
                               .tile = scores,
                               .tile_stride = layout.score_stride});
  float sums[64];
  check(count <= 64, "a step of queries has room for its sums");
  // Scores are scaled when they are exponentiated, and biases with them.
  const float unscaled = 1.0F / head.scale;
  for (int64_t i = 0; i < count; ++i) {
    float* row = scores + i * layout.score_stride;
    if (head.places.empty()) {
      add_distance_bias(row, rows, head.bias, unscaled, -(first + i));
    } else {
      const int64_t place = head.places[static_cast<size_t>(first + i)];
      add_distance_bias(row, head.places, head.bias, unscaled, place);
    }
    sums[i] = context.ops.exponentiate(row, rows, head.scale);
  }
  context.ops.multiply_panels({.a = scores,
                               .a_stride = layout.score_stride,
                               .rows = count,
                               .depth = rows,
                               .panels = scratch + layout.values,
                               .panel_count = layout.value_panels,
                               .panel_stride = rows * context.ops.panel_width,
                               .tile = mixed,
                               .tile_stride = layout.mix_stride});
  for (int64_t i = 0; i < count; ++i) {
    context.ops.scale_row(mixed + i * layout.mix_stride, width, 1.0F / sums[i],
                          head.out.row<float>(first + i));
  }
}

}  // namespace

void run_attend_dense(const CpuContext& context, const AttendDense& dense) {
  check(dense.batch > 0 && dense.q.rows % dense.batch == 0, "runs divide the rows");
  check(dense.heads > 0 && dense.q.columns % dense.heads == 0, "heads divide the columns");
  const auto same_shape = [&](const ConstMatrix& other) {
    return other.rows == dense.q.rows && other.columns == dense.q.columns;
  };
  check(same_shape(dense.k) && same_shape(dense.v) && same_shape(dense.out),
        "q, k, v and out have one shape");
  check(dense.places.empty() || std::ssize(dense.places) == dense.q.rows, "each row has a place");
  if (dense.q.rows == 0 || dense.q.columns == 0) return;
  const int64_t rows = dense.q.rows / dense.batch;
  const int64_t heads = dense.heads * dense.batch;
  const Layout layout(context, rows, dense.q.columns / dense.heads);
  const int64_t wanted = ceil_div(kTasksPerThread * context.pool.threads(), heads);
  const int64_t most = std::max<int64_t>(1, rows / kLeastQueries);
  const int64_t chunk = round_up(ceil_div(rows, std::min(wanted, most)), context.ops.row_group);
  const int64_t chunks = ceil_div(rows, chunk);
  ScratchSets::Lease lease(context.scratch);

  const auto attend_task = [&](int64_t task, Scratch& memory) {
    const Head head = head_of(dense, task / chunks);
    float* scratch = memory.floats(layout.total);
    if (memory.content != task / chunks) {
      context.ops.pack_rows(head.k, scratch);
      context.ops.pack_columns(head.v, scratch + layout.values);
      memory.content = task / chunks;
    }
    const int64_t end = std::min(rows, (task % chunks + 1) * chunk);
    for (int64_t first = task % chunks * chunk; first < end; first += layout.step) {
      attend_queries(context, head, layout, first, std::min(layout.step, end - first), scratch);
    }
  };
  context.pool.parallel_for(heads * chunks, 1, [&](int64_t begin, int64_t end, int worker) {
    for (int64_t task = begin; task < end; ++task) attend_task(task, lease.of(worker));
  });
}

}  // namespace slim
