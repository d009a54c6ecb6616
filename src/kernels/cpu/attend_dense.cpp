// The encoder's self-attention. A task is some queries of one head: it packs the head's keys and
// values into panels, then takes a few queries at a time so that their scores stay in the
// second-level cache between the three passes: score, exponentiate, mix. The division by the sum
// comes last, on C values instead of S.
#include <algorithm>

#include "base/check.h"
#include "kernels/cpu/bfloat16_ops.h"
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

// How many queries are taken at a time, at most.
constexpr int64_t kMostQueries = 64;

// Where queries have their rows in a task's scratch, in floats.
struct Tile {
  int64_t begin = 0;
  int64_t stride = 0;

  float* row(int64_t query, float* memory) const { return memory + begin + query * stride; }
};

// The products in f32. Scratch begins with the panels of keys.
class FloatProducts {
 public:
  FloatProducts(const CpuContext& context, int64_t rows, int64_t width)
      : ops_(context.ops),
        rows_(rows),
        width_(width),
        values_(round_up(rows, ops_.panel_width) * width),
        scores_{values_ + round_up(width, ops_.panel_width) * rows,
                round_up(rows, ops_.panel_width)},
        mixed_{scores_.begin + step() * scores_.stride, round_up(width, ops_.panel_width)} {}

  int64_t step() const { return 4 * ops_.row_group; }
  int64_t floats() const { return mixed_.begin + step() * mixed_.stride; }
  const Tile& scores() const { return scores_; }
  const Tile& mixed() const { return mixed_; }

  void pack(const Head& head, float* memory) const {
    ops_.pack_rows(head.k, memory);
    ops_.pack_columns(head.v, memory + values_);
  }
  void score(const ConstMatrix& queries, float* memory) const {
    ops_.multiply_panels({.a = queries.row<float>(0),
                          .a_stride = queries.stride,
                          .rows = queries.rows,
                          .depth = width_,
                          .panels = memory,
                          .panel_count = scores_.stride / ops_.panel_width,
                          .panel_stride = width_ * ops_.panel_width,
                          .tile = scores_.row(0, memory),
                          .tile_stride = scores_.stride});
  }
  float exponentiate(int64_t query, float scale, float* memory) const {
    return ops_.exponentiate(scores_.row(query, memory), rows_, scale);
  }
  void mix(int64_t queries, float* memory) const {
    ops_.multiply_panels({.a = scores_.row(0, memory),
                          .a_stride = scores_.stride,
                          .rows = queries,
                          .depth = rows_,
                          .panels = memory + values_,
                          .panel_count = mixed_.stride / ops_.panel_width,
                          .panel_stride = rows_ * ops_.panel_width,
                          .tile = mixed_.row(0, memory),
                          .tile_stride = mixed_.stride});
  }

 private:
  const TargetOps& ops_;
  const int64_t rows_;
  const int64_t width_;
  const int64_t values_;  // their panels
  const Tile scores_;
  const Tile mixed_;
};

// The same in bf16: panels are half as large, and queries and weights lie apart, rounded.
class RoundedProducts {
 public:
  RoundedProducts(const CpuContext& context, int64_t rows, int64_t width)
      : ops_(bfloat16_panel_ops(context.target)),
        rows_(rows),
        width_(width),
        values_(round_up(rows, kRoundedPanel) * round_up(width, 2) / 2),
        queries_{values_ + round_up(width, kRoundedPanel) * round_up(rows, 2) / 2,
                 round_up(width, kRoundedPanel) / 2},
        scores_{queries_.begin + kStep * queries_.stride, round_up(rows, kRoundedPanel)},
        weights_{scores_.begin + kStep * scores_.stride, (scores_.stride + kApart) / 2},
        mixed_{weights_.begin + kStep * weights_.stride, round_up(width, kRoundedPanel)} {}

  int64_t step() const { return kStep; }
  int64_t floats() const { return mixed_.begin + kStep * mixed_.stride; }
  const Tile& scores() const { return scores_; }
  const Tile& mixed() const { return mixed_; }

  void pack(const Head& head, float* memory) const {
    ops_.pack_rows(head.k, rounded(memory));
    ops_.pack_columns(head.v, rounded(memory + values_));
  }
  void score(const ConstMatrix& queries, float* memory) const {
    for (int64_t i = 0; i < queries.rows; ++i) {
      ops_.round(queries.row<float>(i), width_, rounded(queries_.row(i, memory)));
    }
    ops_.multiply_panels({.a = rounded(queries_.row(0, memory)),
                          .a_stride = 2 * queries_.stride,
                          .rows = queries.rows,
                          .depth = round_up(width_, 2),
                          .panels = rounded(memory),
                          .panel_count = scores_.stride / kRoundedPanel,
                          .tile = scores_.row(0, memory),
                          .tile_stride = scores_.stride});
  }
  float exponentiate(int64_t query, float scale, float* memory) const {
    return ops_.exponentiate(scores_.row(query, memory), rows_, scale,
                             rounded(weights_.row(query, memory)));
  }
  void mix(int64_t queries, float* memory) const {
    ops_.multiply_panels({.a = rounded(weights_.row(0, memory)),
                          .a_stride = 2 * weights_.stride,
                          .rows = queries,
                          .depth = round_up(rows_, 2),
                          .panels = rounded(memory + values_),
                          .panel_count = mixed_.stride / kRoundedPanel,
                          .tile = mixed_.row(0, memory),
                          .tile_stride = mixed_.stride});
  }

 private:
  static constexpr int64_t kStep = 32;
  // A cache line between rows of weights: else they may all lie in the same places of the cache.
  static constexpr int64_t kApart = 32;

  static BFloat16* rounded(float* memory) { return reinterpret_cast<BFloat16*>(memory); }

  const Bfloat16PanelOps ops_;
  const int64_t rows_;
  const int64_t width_;
  const int64_t values_;  // their panels
  const Tile queries_;
  const Tile scores_;
  const Tile weights_;
  const Tile mixed_;
};

template <typename Products>
void attend_queries(const CpuContext& context, const Products& products, const Head& head,
                    int64_t first, int64_t count, float* memory) {
  products.score(head.q.rows_from(first, count), memory);
  float sums[kMostQueries];
  check(count <= kMostQueries, "a step of queries has room for its sums");
  // Scores are scaled when they are exponentiated, and biases with them.
  const float unscaled = 1.0F / head.scale;
  for (int64_t i = 0; i < count; ++i) {
    float* scores = products.scores().row(i, memory);
    if (head.places.empty()) {
      add_distance_bias(scores, head.k.rows, head.bias, unscaled, -(first + i));
    } else {
      const int64_t place = head.places[static_cast<size_t>(first + i)];
      add_distance_bias(scores, head.places, head.bias, unscaled, place);
    }
    sums[i] = products.exponentiate(i, head.scale, memory);
  }
  products.mix(count, memory);
  for (int64_t i = 0; i < count; ++i) {
    context.ops.scale_row(products.mixed().row(i, memory), head.out.columns, 1.0F / sums[i],
                          head.out.row<float>(first + i));
  }
}

template <typename Products>
void attend_heads(const CpuContext& context, const AttendDense& dense) {
  const int64_t rows = dense.q.rows / dense.batch;
  const int64_t heads = dense.heads * dense.batch;
  const Products products(context, rows, dense.q.columns / dense.heads);
  const int64_t wanted = ceil_div(kTasksPerThread * context.pool.threads(), heads);
  const int64_t most = std::max<int64_t>(1, rows / kLeastQueries);
  const int64_t chunk = round_up(ceil_div(rows, std::min(wanted, most)), context.ops.row_group);
  const int64_t chunks = ceil_div(rows, chunk);
  ScratchSets::Lease lease(context.scratch);

  const auto attend_task = [&](int64_t task, Scratch& memory) {
    const Head head = head_of(dense, task / chunks);
    float* scratch = memory.floats(products.floats());
    if (memory.content != task / chunks) {
      products.pack(head, scratch);
      memory.content = task / chunks;
    }
    const int64_t end = std::min(rows, (task % chunks + 1) * chunk);
    for (int64_t first = task % chunks * chunk; first < end; first += products.step()) {
      attend_queries(context, products, head, first, std::min(products.step(), end - first),
                     scratch);
    }
  };
  context.pool.parallel_for(heads * chunks, 1, [&](int64_t begin, int64_t end, int worker) {
    for (int64_t task = begin; task < end; ++task) attend_task(task, lease.of(worker));
  });
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
  if (dense.inputs == Inputs::bf16 && has_bfloat16_ops(context.target)) {
    return attend_heads<RoundedProducts>(context, dense);
  }
  attend_heads<FloatProducts>(context, dense);
}

}  // namespace slim
