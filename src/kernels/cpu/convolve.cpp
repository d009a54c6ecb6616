// Convolution as panel products: with channels last and a tap-major weight, each tap is a product
// of frames (rows of x, `stride` apart) with a third of the panels' depth, and the taps add up in
// the tile. Nothing is copied; at the edges the tap that would read padding is left out.
#include <algorithm>

#include "base/check.h"
#include "kernels/cpu/dense.h"
#include "kernels/cpu/rounding.h"

namespace slim {
namespace {

constexpr int64_t kBlockOutputs = 128;  // packed: 590 KB for 384 channels
constexpr int64_t kChunkSteps = 192;    // of one task

struct Steps {  // [begin, end) of one run
  int64_t begin;
  int64_t end;
};

// A convolution and how it is cut: tasks are (block of outputs, run, chunk of steps).
struct Plan {
  Plan(const CpuContext& its_context, const Convolve& its_convolve)
      : context(its_context),
        convolve(its_convolve),
        frames(convolve.x.rows / convolve.batch),
        steps(ceil_div(frames, convolve.stride)),
        blocks(ceil_div(convolve.weight.rows, kBlockOutputs)),
        chunks(ceil_div(steps, kChunkSteps)) {}
  const CpuContext& context;
  const Convolve& convolve;
  int64_t frames;  // of one run, as the next three
  int64_t steps;
  int64_t blocks;
  int64_t chunks;
};

// The steps among `steps` whose frame step * stride + tap - 1 exists.
Steps reached(const Plan& plan, Steps steps, int64_t tap) {
  const int64_t begin = tap == 0 ? 1 : 0;                                     // frame -1 is padding
  const int64_t end = ceil_div(plan.frames + 1 - tap, plan.convolve.stride);  // as is `frames`
  return {std::max(steps.begin, begin), std::min(steps.end, end)};
}

// Sums of `steps` of run `run` into the tile.
void add_taps(const Plan& plan, int64_t run, Steps steps, PanelProduct product) {
  const ConstMatrix& x = plan.convolve.x;
  float* const tile = product.tile;
  const float* const panels = product.panels;
  for (const int64_t tap : {1, 0, 2}) {  // the middle one always exists, and starts the sums
    const Steps part = reached(plan, steps, tap);
    if (part.begin >= part.end) continue;
    product.a = x.row<float>(run * plan.frames + part.begin * plan.convolve.stride + tap - 1);
    product.rows = part.end - part.begin;
    product.panels = panels + tap * x.columns * plan.context.ops.panel_width;
    product.tile = tile + (part.begin - steps.begin) * product.tile_stride;
    product.accumulate = tap != 1;
    plan.context.ops.multiply_panels(product);
  }
}

void convolve_task(const Plan& plan, int64_t task, Scratch& scratch) {
  const auto& [x, weight, bias, y, batch, stride, activation] = plan.convolve;
  const TargetOps& ops = plan.context.ops;
  const int64_t block = task / (batch * plan.chunks);
  const int64_t run = task / plan.chunks % batch;
  const int64_t first = block * kBlockOutputs;
  const int64_t outputs = std::min(kBlockOutputs, weight.rows - first);
  const int64_t step = 4 * ops.row_group;
  float* panels = scratch.floats(kBlockOutputs * (weight.columns + step));
  float* tile = panels + kBlockOutputs * weight.columns;
  if (scratch.content != block) {
    ops.pack_rows(weight.rows_from(first, outputs), panels);
    scratch.content = block;
  }
  const PanelProduct product{.a_stride = stride * x.stride,
                             .depth = x.columns,
                             .panels = panels,
                             .panel_count = ceil_div(outputs, ops.panel_width),
                             .panel_stride = weight.columns * ops.panel_width,
                             .tile = tile,
                             .tile_stride = kBlockOutputs};
  const int64_t end = std::min(plan.steps, (task % plan.chunks + 1) * kChunkSteps);
  for (int64_t begin = task % plan.chunks * kChunkSteps; begin < end; begin += step) {
    const int64_t count = std::min(step, end - begin);
    add_taps(plan, run, {begin, begin + count}, product);
    ops.finish({.tile = tile,
                .tile_stride = kBlockOutputs,
                .bias = bias == nullptr ? nullptr : bias + first,
                .activation = activation,
                .y = y.rows_from(run * plan.steps + begin, count).columns_from(first, outputs)});
  }
}

}  // namespace

void run_convolve(const CpuContext& context, const Convolve& convolve) {
  const auto& [x, weight, bias, y, batch, stride, activation] = convolve;
  check(batch > 0 && x.rows % batch == 0, "a convolution's runs divide its rows");
  check(stride == 1 || stride == 2, "a convolution's stride is 1 or 2");
  const Plan plan(context, convolve);
  check(weight.columns == 3 * x.columns, "a convolution's weight holds three taps");
  check(y.rows == batch * plan.steps && y.columns == weight.rows,
        "a convolution's y is [runs * steps, outputs]");
  if (y.rows == 0) return;
  ScratchSets::Lease lease(context.scratch);
  context.pool.parallel_for(plan.blocks * batch * plan.chunks, 1,
                            [&](int64_t begin, int64_t end, int worker) {
                              for (int64_t task = begin; task < end; ++task)
                                convolve_task(plan, task, lease.of(worker));
                            });
}

}  // namespace slim
