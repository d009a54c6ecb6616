// Convolution as panel products: with channels last and a tap-major weight, each tap is a product
// of frames (rows of x, `stride` apart) with a third of the panels' depth, and the taps add up in
// the tile. Nothing is copied; at the edges the tap that would read padding is left out.
#include <algorithm>

#include "base/check.h"
#include "kernels/cpu/dense.h"

namespace slim {
namespace {

constexpr int64_t kBlockOutputs = 128;  // packed: 590 KB for 384 channels
constexpr int64_t kChunkSteps = 192;    // of one task

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

struct Steps {  // [begin, end) of one run
  int64_t begin;
  int64_t end;
};

// The steps among `steps` whose frame step * stride + tap - 1 exists.
Steps reached(Steps steps, int64_t tap, int64_t stride, int64_t frames) {
  const int64_t begin = tap == 0 ? 1 : 0;                  // frame -1 is padding
  const int64_t end = ceil_div(frames + 1 - tap, stride);  // as is frame `frames`
  return {std::max(steps.begin, begin), std::min(steps.end, std::max(begin, end))};
}

// Sums of `steps` of run `run` into the tile.
void add_taps(const CpuContext& context, const Convolve& convolve, int64_t run, Steps steps,
              PanelProduct product) {
  const int64_t frames = convolve.x.rows / convolve.batch;
  const int64_t inputs = convolve.x.columns;
  float* const tile = product.tile;
  const float* const panels = product.panels;
  for (const int64_t tap : {1, 0, 2}) {  // the middle one always exists, and starts the sums
    const Steps part = reached(steps, tap, convolve.stride, frames);
    if (part.begin >= part.end) continue;
    const int64_t frame = run * frames + part.begin * convolve.stride + tap - 1;
    product.a = convolve.x.row<float>(frame);
    product.rows = part.end - part.begin;
    product.panels = panels + tap * inputs * context.ops.panel_width;
    product.tile = tile + (part.begin - steps.begin) * product.tile_stride;
    product.accumulate = tap != 1;
    context.ops.multiply_panels(product);
  }
}

}  // namespace

void run_convolve(const CpuContext& context, const Convolve& convolve) {
  const auto& [x, weight, bias, y, batch, stride, activation] = convolve;
  check(batch > 0 && x.rows % batch == 0, "a convolution's runs divide its rows");
  check(stride == 1 || stride == 2, "a convolution's stride is 1 or 2");
  const int64_t steps = ceil_div(x.rows / batch, stride);
  check(weight.columns == 3 * x.columns, "a convolution's weight holds three taps");
  check(y.rows == batch * steps && y.columns == weight.rows,
        "a convolution's y is [runs * steps, outputs]");
  if (y.rows == 0) return;
  const int64_t width = context.ops.panel_width;
  const int64_t blocks = ceil_div(weight.rows, kBlockOutputs);
  const int64_t chunks = ceil_div(steps, kChunkSteps);
  const int64_t step = 4 * context.ops.row_group;
  ScratchSets::Lease lease(context.scratch);

  const auto convolve_task = [&](int64_t task, Scratch& scratch) {
    const int64_t block = task / (batch * chunks);
    const int64_t run = task / chunks % batch;
    const int64_t first = block * kBlockOutputs;
    const int64_t outputs = std::min(kBlockOutputs, weight.rows - first);
    float* panels = scratch.floats(kBlockOutputs * (weight.columns + step));
    float* tile = panels + kBlockOutputs * weight.columns;
    if (scratch.content != block) {
      context.ops.pack_rows(weight.rows_from(first, outputs), panels);
      scratch.content = block;
    }
    const PanelProduct product{.a_stride = stride * x.stride,
                               .depth = x.columns,
                               .panels = panels,
                               .panel_count = ceil_div(outputs, width),
                               .panel_stride = weight.columns * width,
                               .tile = tile,
                               .tile_stride = kBlockOutputs};
    const int64_t end = std::min(steps, (task % chunks + 1) * kChunkSteps);
    for (int64_t begin = task % chunks * kChunkSteps; begin < end; begin += step) {
      const int64_t count = std::min(step, end - begin);
      add_taps(context, convolve, run, {begin, begin + count}, product);
      context.ops.finish(
          {.tile = tile,
           .tile_stride = kBlockOutputs,
           .bias = bias == nullptr ? nullptr : bias + first,
           .activation = activation,
           .y = y.rows_from(run * steps + begin, count).columns_from(first, outputs)});
    }
  };
  context.pool.parallel_for(blocks * batch * chunks, 1,
                            [&](int64_t begin, int64_t end, int worker) {
                              for (int64_t task = begin; task < end; ++task) {
                                convolve_task(task, lease.of(worker));
                              }
                            });
}

}  // namespace slim
