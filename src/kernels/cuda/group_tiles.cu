// Products of some rows, a batch of decoding steps, on tensor cores: each tile of 128 outputs and
// up to 64 rows (group_tiles.cuh) reads its weights once. Where there are fewer tiles than the card
// runs blocks, several blocks share the inputs of a tile, and the last one to finish adds up their
// sums, in the same order whichever it is.
#include "kernels/cuda/group_tiles.cuh"

#include <algorithm>
#include <limits>

#include "kernels/cuda/earlier_work.cuh"
#include "kernels/cuda/products.h"

namespace slim {
namespace {

constexpr int64_t kMostSplits = 32;
// What a block takes to begin and to end, and what adding up costs once, in steps.
constexpr int64_t kBlockSteps = 3;
constexpr int64_t kAddingSteps = 2;

template <DType kType, int kRows>
__global__ void __launch_bounds__(kTileThreads, kRows > 32 ? 1 : 2)
    group_tiles(const __grid_constant__ TileProduct a) {
  wait_for_earlier();
  extern __shared__ uint4 memory[];
  Tile<kType, kRows> tile(a, reinterpret_cast<std::byte*>(memory));
  tile.multiply();
  tile.finish();
}

// Calls f with the type of weights and the rows of a tile as constants.
template <DType kType, typename Function>
void visit_rows(int64_t rows, Function& f) {
  if (rows <= 16) return f.template operator()<kType, 16>();
  if (rows <= 32) return f.template operator()<kType, 32>();
  f.template operator()<kType, 64>();
}
template <typename Function>
bool visit_tiles(const Product& product, Function f) {
  const int64_t rows = product.x.rows;
  switch (product.weight.type) {
    case DType::f16:
      return visit_rows<DType::f16>(rows, f), true;
    case DType::bf16:
      return visit_rows<DType::bf16>(rows, f), true;
    case DType::i8:
      return visit_rows<DType::i8>(rows, f), true;
    case DType::i16:
      return visit_rows<DType::i16>(rows, f), true;
    default:
      return false;
  }
}

// Into how many parts to cut the inputs of each tile: as many as end soonest, when a card runs
// `at_once` blocks and then the next.
int64_t splits_of(int64_t tiles, int64_t steps, int64_t at_once) {
  if (tiles > kCountedTiles) return 1;
  int64_t best = 1;
  int64_t least = std::numeric_limits<int64_t>::max();
  for (int64_t splits = 1; splits <= std::min(steps, kMostSplits); ++splits) {
    const int64_t waves = (tiles * splits + at_once - 1) / at_once;
    const int64_t time =
        waves * ((steps + splits - 1) / splits + kBlockSteps) + (splits > 1 ? kAddingSteps : 0);
    if (time >= least) continue;
    least = time;
    best = splits;
  }
  return best;
}

TileProduct tile_product(const Product& product, int tile_rows) {
  const DType type = product.weight.type;
  const int64_t tiles = (product.outputs() + kTileOutputs - 1) / kTileOutputs;
  return {.weight = product.weight.data,
          .x = product.x.row<float>(0),
          .scale = product.scale,
          .bias = product.bias,
          .y = product.y.row<float>(0),
          .partial = nullptr,
          .arrivals = nullptr,
          .weight_bytes = bytes_of(type, product.weight.stride),
          .x_stride = product.x.stride,
          .y_stride = product.y.stride,
          .x_step = product.step(),
          .inputs = product.terms(),
          .outputs = product.outputs(),
          .tiles = static_cast<int>(tiles),
          .rows = static_cast<int>(product.x.rows),
          .row_tiles = static_cast<int>((product.x.rows + tile_rows - 1) / tile_rows),
          .splits = 1,
          .wide = rows_aligned(product.x, 16) && (product.groups == 1 || product.step() % 4 == 0),
          .accumulate = product.accumulate,
          .activation = product.activation};
}

}  // namespace

bool takes_tiles(const CudaDevice& device, const Product& product) {
  if (!rows_aligned(product.weight, kChunk)) return false;
  bool fits = false;
  visit_tiles(product, [&]<DType kType, int kRows>() {
    fits = TileShape<kType, kRows>::kSharedBytes <= device.block_memory();
  });
  return fits;
}

void multiply_tiles(CudaDevice& device, const Product& product, uint32_t* arrivals) {
  visit_tiles(product, [&]<DType kType, int kRows>() {
    using Shape = TileShape<kType, kRows>;
    TileProduct a = tile_product(product, kRows);
    const int64_t tiles = product.groups * a.tiles * a.row_tiles;
    const int64_t steps = (a.inputs + Shape::kColumns - 1) / Shape::kColumns;
    const int64_t splits =
        splits_of(tiles, steps, int64_t{device.multiprocessors()} * (kRows > 32 ? 1 : 2));
    a.splits = static_cast<int>(splits);
    a.arrivals = arrivals;
    const auto partial =
        splits == 1 ? nullptr
                    : device.allocate(static_cast<size_t>(tiles * splits * kRows * kTileOutputs) *
                                      sizeof(float));
    if (partial != nullptr) a.partial = reinterpret_cast<float*>(partial->data());
    const auto kernel = group_tiles<kType, kRows>;
    check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    Shape::kSharedBytes),
               "give a block shared memory");
    device.launch("multiply some rows", kernel,
                  {static_cast<unsigned>(tiles * splits), kTileThreads, Shape::kSharedBytes}, a);
  });
}

}  // namespace slim
