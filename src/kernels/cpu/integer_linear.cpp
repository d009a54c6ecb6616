// Products of i8 weights with rounded rows. All of x is rounded once; then workers take blocks of
// outputs: few rows are multiplied with the weight where it lies, for more of them a block is
// packed into panels in the second-level cache. A weight is held once, as it came.
#include <algorithm>

#include "base/check.h"
#include "kernels/cpu/product.h"
#include "kernels/cpu/rounding.h"
#include "kernels/input_scale.h"

namespace slim {
namespace {

constexpr int64_t kPanelBytes = int64_t{256} * 1024;  // of one packed block
constexpr int64_t kBlockOutputs = 256;
constexpr int64_t kLeastRounded = int64_t{16} * 1024;    // numbers in a task
constexpr int64_t kLeastProducts = int64_t{128} * 1024;  // in a task: a few microseconds
constexpr int64_t kTasksPerThread = 4;
constexpr int64_t kLeastRows = 192;  // in a task that packs: packing is then below 10 %
constexpr int64_t kRowsAtOnce = 32;  // whose tile is in the first-level cache

// All of x: group by group, row by row.
class RoundedRows {
 public:
  RoundedRows(const CpuContext& context, const DenseProduct& product, Scratch& scratch)
      : rows_(product.rows()),
        parts_(parts_of(product.inputs)),
        part_bytes_(context.ops.part_bytes(product.depth())) {
    const int64_t count = product.groups * rows_;
    const int64_t bytes = count * parts_ * part_bytes_;
    const int64_t headers = round_up(count * int64_t{sizeof(RoundedRow)}, 64);
    auto* memory = reinterpret_cast<std::byte*>(
        scratch.floats(ceil_div(headers + bytes, int64_t{sizeof(float)})));
    rounded_ = reinterpret_cast<RoundedRow*>(memory);
    first_part_ = memory + headers;
    const int64_t grain = ceil_div(kLeastRounded, std::max<int64_t>(1, product.depth()));
    context.pool.parallel_for(count, grain, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) {
        rounded_[i] =
            context.ops.round_row(product.x_of(i / rows_).row<float>(i % rows_), product.depth(),
                                  product.inputs, first_part_ + i * parts_ * part_bytes_);
      }
    });
  }

  // Of which the tile and the weight are still to be said.
  IntegerProduct of(const DenseProduct& product, int64_t group, int64_t row, int64_t rows) const {
    const int64_t first = group * rows_ + row;
    IntegerProduct some;
    some.inputs = product.inputs;
    some.parts = first_part_ + first * parts_ * part_bytes_;
    some.part_bytes = part_bytes_;
    some.rounded = rounded_ + first;
    some.rows = rows;
    return some;
  }

 private:
  int64_t rows_;
  int64_t parts_;
  int64_t part_bytes_;
  RoundedRow* rounded_ = nullptr;
  std::byte* first_part_ = nullptr;
};

// Tasks are (group, block of outputs, chunk of rows).
struct Cut {
  Cut(const CpuContext& context, const DenseProduct& product) {
    const int64_t width = context.ops.panel_width;
    const int64_t outputs = round_up(product.outputs(), width);
    const bool few = product.rows() <= context.ops.few_integer_rows;
    const int64_t work = std::max<int64_t>(1, product.rows() * product.depth());
    const int64_t panel = std::max<int64_t>(1, context.ops.panel_bytes(product.depth()));
    const int64_t fitting =
        few ? ceil_div(kLeastProducts, work) : ceil_div(kPanelBytes, panel) * width;
    block = std::min(round_up(std::clamp(fitting, width, kBlockOutputs), width), outputs);
    block = round_up(ceil_div(outputs, ceil_div(outputs, block)), width);  // of even size
    blocks = ceil_div(outputs, block);
    const int64_t wanted =
        ceil_div(kTasksPerThread * context.pool.threads(), product.groups * blocks);
    const int64_t most = std::max<int64_t>(1, product.rows() / kLeastRows);
    chunk = round_up(ceil_div(product.rows(), std::min(wanted, most)), kRowsAtOnce);
    chunks = ceil_div(product.rows(), chunk);
  }
  int64_t block;   // outputs
  int64_t blocks;  // in a group
  int64_t chunk;   // rows
  int64_t chunks;
};

}  // namespace

void multiply_rounded(const CpuContext& context, const DenseProduct& product) {
  check(product.depth() <= kDeepestInputs, "rows that are rounded have at most 131,072 columns");
  const TargetOps& ops = context.ops;
  const Cut cut(context, product);
  ScratchSets::Lease lease(context.scratch);
  const RoundedRows x(context, product, lease.shared());
  const bool few = product.rows() <= ops.few_integer_rows;
  const int64_t panel_bytes =
      few ? 0 : cut.block / ops.panel_width * ops.panel_bytes(product.depth());
  const auto multiply_task = [&](int64_t task, Scratch& scratch) {
    const int64_t which = task / cut.chunks;  // block of all groups
    const int64_t group = which / cut.blocks;
    const int64_t begin = which % cut.blocks * cut.block;
    const int64_t outputs = std::min(cut.block, product.outputs() - begin);
    const int64_t first = group * product.outputs() + begin;
    const ConstMatrix weight = product.weight.rows_from(first, outputs);
    float* tile = scratch.floats(kRowsAtOnce * cut.block + panel_bytes / int64_t{sizeof(float)});
    auto* panels = reinterpret_cast<std::byte*>(tile + kRowsAtOnce * cut.block);
    if (!few && scratch.content != which) {
      ops.pack_integers(weight, panels);
      scratch.content = which;
    }
    // Each row's share of the weights that come next: a plain read of them takes a third as long as
    // the products of 64 rows.
    const int64_t after = std::min(cut.block, product.weight.rows - first - outputs);
    const auto next = [&](int64_t row) {
      return reinterpret_cast<const std::byte*>(product.weight.row<int8_t>(first + outputs)) +
             after * product.weight.stride * row / product.rows();
    };
    const int64_t end = std::min(product.rows(), (task % cut.chunks + 1) * cut.chunk);
    for (int64_t row = task % cut.chunks * cut.chunk; row < end; row += kRowsAtOnce) {
      IntegerProduct some = x.of(product, group, row, std::min(kRowsAtOnce, end - row));
      some.weight = weight;
      some.panels = panels;
      some.tile = tile;
      some.tile_stride = cut.block;
      some.next = next(row);
      some.next_end = next(row + some.rows);
      few ? ops.multiply_integer_rows(some) : ops.multiply_integer_panels(some);
      finish(context, product, {row, some.rows, first, outputs, tile, cut.block});
    }
  };
  context.pool.parallel_for(product.groups * cut.blocks * cut.chunks, 1,
                            [&](int64_t begin, int64_t end, int worker) {
                              for (int64_t task = begin; task < end; ++task) {
                                multiply_task(task, lease.of(worker));
                              }
                            });
}

}  // namespace slim
