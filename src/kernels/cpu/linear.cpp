// Products with weights. Many rows of x: blocks of outputs are packed into panels that fit half a
// core's second-level cache, and a worker runs its rows past them. Few rows: dot products that
// read the weight once where it lies; of block weights, with x spread first (block_products.cpp) if
// it has the fewest rows. Either way a tile of sums goes through finish() while it is in the
// first-level cache.
#include <algorithm>
#include <optional>

#include "base/check.h"
#include "kernels/cpu/dense.h"
#include "kernels/cpu/product.h"
#include "kernels/cpu/rounding.h"

namespace slim {
namespace {

constexpr int64_t kPanelFloats = int64_t{96} * 1024;  // of one packed block: 384 KB
constexpr int64_t kBlockOutputs = 256;
constexpr int64_t kLeastProducts = int64_t{32} * 1024;  // in a task: a few microseconds
constexpr int64_t kLeastRows = 96;  // in a task that packs: packing is then below 10 %
constexpr int64_t kTasksPerThread = 4;

// All of x, spread for block weights: group by group, row by row.
class SpreadRows {
 public:
  SpreadRows(const CpuContext& context, const DenseProduct& product, Scratch& scratch)
      : rows_(product.rows()),
        stride_(context.ops.spread_floats(product.weight.type, product.depth())),
        values_(scratch.floats(product.groups * rows_ * stride_)) {
    for (int64_t group = 0; group < product.groups; ++group) {
      const ConstMatrix x = product.x_of(group);
      for (int64_t row = 0; row < rows_; ++row) {
        context.ops.spread(product.weight.type, x.row<float>(row), product.depth(),
                           values_ + (group * rows_ + row) * stride_);
      }
    }
  }
  const float* of(int64_t group) const { return values_ + group * rows_ * stride_; }

 private:
  int64_t rows_;
  int64_t stride_;
  float* values_;
};

void multiply_few(const CpuContext& context, const DenseProduct& product) {
  constexpr int64_t kStep = 48;  // a multiple of every tile's outputs
  const int64_t rows = product.rows();
  const int64_t work = std::max<int64_t>(1, rows * product.depth());
  const int64_t grain = round_up(ceil_div(kLeastProducts, work), kStep);
  ScratchSets::Lease lease(context.scratch);
  std::optional<SpreadRows> spread;
  if (is_block_type(product.weight.type) && rows <= context.ops.spread_rows) {
    spread.emplace(context, product, lease.shared());
  }
  context.pool.parallel_for(
      product.weight.rows, grain, [&](int64_t begin, int64_t end, int worker) {
        float* tile = lease.of(worker).floats(rows * kBlockOutputs);
        for (int64_t first = begin; first < end;) {
          const int64_t group = first / product.outputs();
          const int64_t last = std::min(
              {end, (group + 1) * product.outputs(), first + kBlockOutputs / kStep * kStep});
          const ConstMatrix weight = product.weight.rows_from(first, last - first);
          if (spread) {
            context.ops.multiply_spread({spread->of(group), rows, weight, tile, kBlockOutputs});
          } else {
            context.ops.multiply_rows(product.x_of(group), weight, tile, kBlockOutputs);
          }
          finish(context, product, {0, rows, first, last - first, tile, kBlockOutputs});
          first = last;
        }
      });
}

// How a product of many rows is cut: tasks are (group, block of outputs, chunk of rows).
struct Cut {
  Cut(const CpuContext& context, const DenseProduct& product) {
    const int64_t width = context.ops.panel_width;
    const int64_t outputs = round_up(product.outputs(), width);
    const int64_t fitting = kPanelFloats / std::max<int64_t>(1, product.depth()) / width * width;
    block = std::clamp(fitting, width, std::min(outputs, std::max(width, kBlockOutputs)));
    block = round_up(ceil_div(outputs, ceil_div(outputs, block)), width);  // of even size
    blocks = ceil_div(outputs, block);
    const int64_t wanted =
        ceil_div(kTasksPerThread * context.pool.threads(), product.groups * blocks);
    const int64_t most = std::max<int64_t>(1, product.rows() / kLeastRows);
    chunk = round_up(ceil_div(product.rows(), std::min(wanted, most)), context.ops.row_group);
    chunks = ceil_div(product.rows(), chunk);
  }
  int64_t block;   // outputs
  int64_t blocks;  // in a group
  int64_t chunk;   // rows
  int64_t chunks;
};

void multiply_many(const CpuContext& context, const DenseProduct& product) {
  const Cut cut(context, product);
  const int64_t step = 4 * context.ops.row_group;
  ScratchSets::Lease lease(context.scratch);
  const auto multiply_task = [&](int64_t task, Scratch& scratch) {
    const int64_t which = task / cut.chunks;  // block of all groups
    const int64_t group = which / cut.blocks;
    const int64_t first = which % cut.blocks * cut.block;
    const int64_t outputs = std::min(cut.block, product.outputs() - first);
    float* panels = scratch.floats(cut.block * (product.depth() + step));
    float* tile = panels + cut.block * product.depth();
    if (scratch.content != which) {
      context.ops.pack_rows(product.weight.rows_from(group * product.outputs() + first, outputs),
                            panels);
      scratch.content = which;
    }
    const ConstMatrix x = product.x_of(group);
    const int64_t end = std::min(product.rows(), (task % cut.chunks + 1) * cut.chunk);
    for (int64_t row = task % cut.chunks * cut.chunk; row < end; row += step) {
      const int64_t rows = std::min(step, end - row);
      context.ops.multiply_panels({.a = x.row<float>(row),
                                   .a_stride = x.stride,
                                   .rows = rows,
                                   .depth = product.depth(),
                                   .panels = panels,
                                   .panel_count = ceil_div(outputs, context.ops.panel_width),
                                   .panel_stride = product.depth() * context.ops.panel_width,
                                   .tile = tile,
                                   .tile_stride = cut.block});
      finish(context, product,
             {row, rows, group * product.outputs() + first, outputs, tile, cut.block});
    }
  };
  context.pool.parallel_for(product.groups * cut.blocks * cut.chunks, 1,
                            [&](int64_t begin, int64_t end, int worker) {
                              for (int64_t task = begin; task < end; ++task) {
                                multiply_task(task, lease.of(worker));
                              }
                            });
}

void multiply(const CpuContext& context, const DenseProduct& product) {
  check(product.groups > 0 && product.weight.rows % product.groups == 0,
        "groups divide the outputs");
  check(product.x.columns >= (product.groups - 1) * product.x_stride + product.depth(),
        "x has as many columns as the weight, for each group");
  check(product.y.rows == product.rows() && product.y.columns == product.weight.rows,
        "y is [x rows, outputs]");
  const DType type = product.weight.type;
  check(type != DType::i32, "no weights are i32");
  check((type == DType::i8 || type == DType::i16) == (product.scale != nullptr),
        "integer weights, and only those, have scales");
  if (product.rows() == 0 || product.weight.rows == 0) return;
  if (type == DType::i8 && product.inputs != Inputs::f32) return multiply_rounded(context, product);
  product.rows() <= context.ops.few_rows ? multiply_few(context, product)
                                         : multiply_many(context, product);
}

}  // namespace

void run_linear(const CpuContext& context, const Linear& linear) {
  check(linear.x.columns == linear.weight.columns,
        "a linear layer's x and weight have the same columns");
  multiply(context, {.x = linear.x,
                     .x_stride = 0,
                     .weight = linear.weight,
                     .scale = linear.scale,
                     .bias = linear.bias,
                     .y = linear.y,
                     .groups = 1,
                     .activation = linear.activation,
                     .accumulate = linear.accumulate,
                     .inputs = linear.inputs});
}

void run_grouped_linear(const CpuContext& context, const GroupedLinear& linear) {
  multiply(context, {.x = linear.x,
                     .x_stride = linear.x_stride == 0 ? linear.weight.columns : linear.x_stride,
                     .weight = linear.weight,
                     .scale = linear.scale,
                     .bias = linear.bias,
                     .y = linear.y,
                     .groups = linear.groups,
                     .activation = Activation::none,
                     .accumulate = linear.accumulate,
                     .inputs = linear.inputs});
}

}  // namespace slim
