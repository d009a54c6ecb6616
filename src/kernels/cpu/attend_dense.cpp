// The encoder's self-attention. A task is some queries of one head: it packs the head's keys and
// values into panels, then takes a few queries at a time so that their scores stay in the
// cache between the three passes: score, exponentiate, mix. The division by the sum comes last, on
// C values instead of S.
#include <algorithm>
#include <utility>

#include "base/check.h"
#include "kernels/cpu/dense.h"
#include "kernels/cpu/distance_bias.h"
#include "kernels/cpu/int16_panels.h"
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

// Adds biases to a query's scores. They are scaled when they are exponentiated, and biases with
// them.
void add_bias(const Head& head, int64_t query, float* scores) {
  const float unscaled = 1.0F / head.scale;
  if (head.places.empty()) {
    add_distance_bias(scores, head.k.rows, head.bias, unscaled, -query);
  } else {
    const int64_t place = head.places[static_cast<size_t>(query)];
    add_distance_bias(scores, head.places, head.bias, unscaled, place);
  }
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

  int64_t group() const { return ops_.row_group; }
  int64_t step() const { return 4 * ops_.row_group; }
  int64_t floats() const { return mixed_.begin + step() * mixed_.stride; }

  void pack(const Head& head, float* memory) const {
    ops_.pack_rows(head.k, memory);
    ops_.pack_columns(head.v, memory + values_);
  }
  void attend(const Head& head, int64_t first, int64_t count, float* memory) const {
    score(head.q.rows_from(first, count), memory);
    float sums[kMostQueries];
    check(count <= kMostQueries, "a step of queries has room for its sums");
    for (int64_t i = 0; i < count; ++i) {
      float* scores = scores_.row(i, memory);
      add_bias(head, first + i, scores);
      sums[i] = ops_.exponentiate(scores, rows_, head.scale);
    }
    mix(count, memory);
    for (int64_t i = 0; i < count; ++i) {
      ops_.scale_row(mixed_.row(i, memory), width_, 1.0F / sums[i], head.out.row<float>(first + i));
    }
  }

 private:
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

  const TargetOps& ops_;
  const int64_t rows_;
  const int64_t width_;
  const int64_t values_;  // their panels
  const Tile scores_;
  const Tile mixed_;
};

// The same in integers of 16 bits, kChunkRows keys and values at a time, so that all of a tile but
// keys and values stays in the first-level cache. What was weighed before is scaled anew where a
// chunk's scores are larger.
class Int16Products {
 public:
  Int16Products(const CpuContext& context, int64_t rows, int64_t width)
      : all_(context.ops),
        ops_(int16_panel_ops(context.target)),
        rows_(rows),
        width_(width),
        depth_(key_depth(width)),
        stride_(round_up(width, ops_.width)),
        keys_(take((rows * depth_ + ops_.width) / 2)),
        key_scales_(take(rows)),
        values_(take(round_up(rows, 2) * stride_ / 2)),
        value_scales_(take(rows)),
        largest_scales_(take(2)),
        queries_(take(round_up(depth_, ops_.width) * ops_.width / 2)),
        scores_(take(kChunkRows * ops_.width)),
        weights_(take(kChunkRows * ops_.width / 2)),
        mixed_(take(ops_.width * stride_)),
        biases_(take(kChunkRows * ops_.width)),
        softmax_(take(7 * ops_.width)) {}

  int64_t group() const { return ops_.width; }
  int64_t step() const { return ops_.width; }
  int64_t floats() const { return floats_; }

  void pack(const Head& head, float* memory) const {
    memory[largest_scales_] =
        ops_.pack_keys(head.k, integers(memory + keys_), memory + key_scales_);
    memory[largest_scales_ + 1] =
        ops_.pack_values(head.v, integers(memory + values_), memory + value_scales_);
  }

  void attend(const Head& head, int64_t first, int64_t count, float* memory) const {
    const Int16Softmax softmax = begin_softmax(head, first, count, memory);
    std::fill_n(memory + mixed_, count * stride_, 0.0F);
    for (int64_t row = 0; row < rows_; row += kChunkRows) {
      const int64_t rows = std::min(kChunkRows, rows_ - row);
      ops_.score({.queries = integers(memory + queries_),
                  .keys = integers(memory + keys_) + row * depth_,
                  .key_scales = memory + key_scales_ + row,
                  .rows = rows,
                  .depth = depth_,
                  .scores = memory + scores_,
                  .largest = largest(memory)});
      if (head.bias.bias != nullptr) add_biases(head, {first, count}, {row, rows}, memory);
      ops_.weigh({.largest = largest(memory),
                  .scores = memory + scores_,
                  .rows = rows,
                  .value_scales = memory + value_scales_ + row,
                  .softmax = softmax,
                  .weights = integers(memory + weights_)});
      ops_.mix({.weights = integers(memory + weights_),
                .softmax = softmax,
                .count = count,
                .rows = rows,
                .panels = integers(memory + values_) + row * stride_,
                .panel_count = stride_ / ops_.width,
                .mixed = memory + mixed_,
                .stride = stride_});
    }
    for (int64_t i = 0; i < count; ++i) {
      all_.scale_row(memory + mixed_ + i * stride_, width_,
                     memory[largest_scales_ + 1] / softmax.sums[i], head.out.row<float>(first + i));
    }
  }

 private:
  struct Range {
    int64_t begin;
    int64_t count;
  };

  static int16_t* integers(float* memory) { return reinterpret_cast<int16_t*>(memory); }
  // Whole cache lines of a task's scratch.
  int64_t take(int64_t floats) { return std::exchange(floats_, floats_ + round_up(floats, 16)); }

  // Of each query of a tile, behind what Int16Softmax has: what makes its sums scores, and the
  // largest of a chunk's.
  float* units(float* memory) const { return memory + softmax_ + 5 * ops_.width; }
  float* largest(float* memory) const { return memory + softmax_ + 6 * ops_.width; }

  Int16Softmax begin_softmax(const Head& head, int64_t first, int64_t count, float* memory) const {
    constexpr float kPowers = 1.44269504F;  // of two: 1 / ln 2
    const int64_t tile = ops_.width;
    float* begin = memory + softmax_;
    const Int16Softmax softmax = {begin, begin + tile, begin + 2 * tile, begin + 3 * tile,
                                  begin + 4 * tile};
    ops_.pack_queries(head.q.rows_from(first, count), integers(memory + queries_), units(memory));
    for (int64_t i = 0; i < tile; ++i) {
      float& unit = units(memory)[i];
      unit *= memory[largest_scales_] * head.scale;
      softmax.factors[i] = head.bias.bias == nullptr ? unit * kPowers : kPowers;
      softmax.largest[i] = -3e38F;
      softmax.sums[i] = 0.0F;
    }
    return softmax;
  }

  void add_biases(const Head& head, Range queries, Range rows, float* memory) const {
    const auto bias_of = [&](int64_t distance) {
      return head.bias.bias[std::clamp(distance, -head.bias.reach, head.bias.reach)];
    };
    float* biases = memory + biases_;
    Int16Biases added{.scores = memory + scores_,
                      .rows = rows.count,
                      .units = units(memory),
                      .biases = biases,
                      .stride = ops_.width,
                      .largest = largest(memory)};
    if (head.places.empty()) {
      // They differ by the difference of row and query alone, and lie from the largest down.
      const int64_t farthest = rows.begin + rows.count - 1 - queries.begin;
      for (int64_t i = 0; i < rows.count + ops_.width; ++i) biases[i] = bias_of(farthest - i);
      added.biases = biases + rows.count - 1;
      added.stride = -1;
    } else {
      const int32_t* places = head.places.data();
      for (int64_t s = 0; s < rows.count; ++s) {
        for (int64_t i = 0; i < ops_.width; ++i) {
          const int64_t query = queries.begin + std::min(i, queries.count - 1);
          biases[s * ops_.width + i] = bias_of(int64_t{places[rows.begin + s]} - places[query]);
        }
      }
    }
    ops_.add_biases(added);
  }

  const TargetOps& all_;
  const Int16PanelOps ops_;
  const int64_t rows_;
  const int64_t width_;
  const int64_t depth_;
  const int64_t stride_;  // of mixed values: whole panels
  // Where things lie in a task's scratch, in floats.
  int64_t floats_ = 0;
  const int64_t keys_;
  const int64_t key_scales_;
  const int64_t values_;
  const int64_t value_scales_;
  const int64_t largest_scales_;  // of keys, and of values
  const int64_t queries_;
  const int64_t scores_;
  const int64_t weights_;
  const int64_t mixed_;
  const int64_t biases_;
  const int64_t softmax_;
};

template <typename Products>
void attend_heads(const CpuContext& context, const AttendDense& dense) {
  const int64_t rows = dense.q.rows / dense.batch;
  const int64_t heads = dense.heads * dense.batch;
  const Products products(context, rows, dense.q.columns / dense.heads);
  const int64_t wanted = ceil_div(kTasksPerThread * context.pool.threads(), heads);
  const int64_t most = std::max<int64_t>(1, rows / kLeastQueries);
  const int64_t chunk = round_up(ceil_div(rows, std::min(wanted, most)), products.group());
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
      products.attend(head, first, std::min(products.step(), end - first), scratch);
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
  if (dense.inputs == Inputs::i16) return attend_heads<Int16Products>(context, dense);
  attend_heads<FloatProducts>(context, dense);
}

}  // namespace slim
