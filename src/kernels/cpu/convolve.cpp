// Convolution as panel products: with channels last and a tap-major weight, each tap is a product
// of frames (rows of x, `stride` apart) with its share of the panels' depth, and the taps add up in
// the tile. Nothing is copied; at the edges the tap that would read padding is left out. Without
// padding a step's frames are one row of a matrix whose rows overlap: a product like any other.
#include <algorithm>

#include "kernels/convolve_check.h"
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
        steps(convolve.steps(frames)),
        blocks(ceil_div(convolve.weight.rows, kBlockOutputs)),
        chunks(ceil_div(steps, kChunkSteps)) {}
  const CpuContext& context;
  const Convolve& convolve;
  int64_t frames;  // of one run, as the next three
  int64_t steps;
  int64_t blocks;
  int64_t chunks;
};

// The steps among `steps` whose frame step * stride + tap - padding exists.
Steps reached(const Plan& plan, Steps steps, int64_t tap) {
  const int64_t before = std::max<int64_t>(0, plan.convolve.padding - tap);
  const int64_t after = plan.frames + plan.convolve.padding - tap;
  return {std::max(steps.begin, ceil_div(before, plan.convolve.stride)),
          std::min(steps.end, ceil_div(after, plan.convolve.stride))};
}

// Sums of `steps` of run `run` into the tile.
void add_taps(const Plan& plan, int64_t run, Steps steps, PanelProduct product) {
  const ConstMatrix& x = plan.convolve.x;
  float* const tile = product.tile;
  const float* const panels = product.panels;
  const int64_t first = plan.convolve.padding;  // the tap that every step has starts the sums
  for (int64_t i = 0; i < plan.convolve.taps; ++i) {
    const int64_t tap = i == 0 ? first : i <= first ? i - 1 : i;
    const Steps part = reached(plan, steps, tap);
    if (part.begin >= part.end) continue;
    product.a = x.row<float>(run * plan.frames + part.begin * plan.convolve.stride + tap - first);
    product.rows = part.end - part.begin;
    product.panels = panels + tap * x.columns * plan.context.ops.panel_width;
    product.tile = tile + (part.begin - steps.begin) * product.tile_stride;
    product.accumulate = i != 0;
    plan.context.ops.multiply_panels(product);
  }
}

void convolve_task(const Plan& plan, int64_t task, Scratch& scratch) {
  const auto& [x, weight, bias, y, batch, stride, activation, taps, padding] = plan.convolve;
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
  check_convolve(convolve);
  const auto& [x, weight, bias, y, batch, stride, activation, taps, padding] = convolve;
  const Plan plan(context, convolve);
  if (padding == 0 && x.stride == x.columns) {
    for (int64_t run = 0; run < batch; ++run) {
      const ConstMatrix steps{x.rows_from(run * plan.frames, plan.frames).data, DType::f32,
                              plan.steps, weight.columns, stride * x.columns};
      run_linear(context, {.x = steps,
                           .weight = weight,
                           .bias = bias,
                           .y = y.rows_from(run * plan.steps, plan.steps),
                           .activation = activation});
    }
    return;
  }
  ScratchSets::Lease lease(context.scratch);
  context.pool.parallel_for(plan.blocks * batch * plan.chunks, 1,
                            [&](int64_t begin, int64_t end, int worker) {
                              for (int64_t task = begin; task < end; ++task)
                                convolve_task(plan, task, lease.of(worker));
                            });
}

}  // namespace slim
