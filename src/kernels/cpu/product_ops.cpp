// Matrix products on blocks, in two forms.
//
// Outer (many rows): a group of kGroup rows of `a` times one panel. Each step of k multiplies one
// broadcast value of each row with the two vectors of the panel's row k; the sums stay in
// registers (8 x 2 with AVX-512, 6 x 2 with AVX2) and go to memory once. (12 x 2 and 14 x 2 would
// fit 32 registers and are 3 to 6 % slower on Zen 4; cutting k so that a panel's slice stays in the
// first-level cache, or prefetching the panel, changes nothing.)
//
// Inner (few rows): dot products of rows of x with rows of the weight, both as they lie in memory,
// so the weight is read once, in the type it has, and nothing is packed. Bound by memory when x
// has one row, and by the final sums when it has many. What is not f32 is then converted a few rows
// and columns at a time, into the first-level cache, once for all rows of x; block weights always
// are, but that for the fewest rows of x there is a way without it in block_products.cpp.
#include <cstring>
#include <type_traits>

#include "kernels/cpu/target_ops.h"
#include "kernels/cpu/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/product_ops.cpp"
#include "hwy/foreach_target.h"
// After foreach_target.h, for each target.
#include "kernels/cpu/dot_inl.h"
#include "kernels/cpu/transpose_inl.h"
#include "kernels/cpu/vector_math_inl.h"
#include "kernels/cpu/weight_codec_inl.h"

HWY_BEFORE_NAMESPACE();
namespace slim {
namespace HWY_NAMESPACE {
namespace {

constexpr int64_t kWidth = 2 * kLanes;                  // of a panel
constexpr int kGroup = HWY_TARGET <= HWY_AVX3 ? 8 : 6;  // rows multiplied together
// With 32 registers dot products run at 97 GFLOP/s a core (Zen 4, 384 x 384) for any number of
// rows, panels at 62 for 8 rows, 81 for 16, 90 for 32, 98 for 64. With 16 registers: dot products
// at 80, panels at 48, 78 for 12 rows, 87, 102.
constexpr int64_t kFewRows = HWY_TARGET <= HWY_AVX3 ? 64 : 12;

template <int rows>
HWY_INLINE void multiply_group(const PanelProduct& product, int64_t row, const float* panel,
                               float* tile) {
  Vector left[rows];
  Vector right[rows];
  for (int i = 0; i < rows; ++i) {
    const float* before = tile + i * product.tile_stride;
    left[i] = product.accumulate ? load(before) : hn::Zero(Floats());
    right[i] = product.accumulate ? load(before + kLanes) : hn::Zero(Floats());
  }
  const float* a = product.a + row * product.a_stride;
  for (int64_t k = 0; k < product.depth; ++k, panel += kWidth) {
    const auto w0 = load(panel);
    const auto w1 = load(panel + kLanes);
    for (int i = 0; i < rows; ++i) {
      const auto x = hn::Set(Floats(), a[i * product.a_stride + k]);
      left[i] = hn::MulAdd(x, w0, left[i]);
      right[i] = hn::MulAdd(x, w1, right[i]);
    }
  }
  for (int i = 0; i < rows; ++i) {
    hn::StoreU(left[i], Floats(), tile + i * product.tile_stride);
    hn::StoreU(right[i], Floats(), tile + i * product.tile_stride + kLanes);
  }
}

void multiply_panels(const PanelProduct& product) {
  for (int64_t p = 0; p < product.panel_count; ++p) {
    const float* panel = product.panels + p * product.panel_stride;
    float* tile = product.tile + p * kWidth;
    int64_t row = 0;
    for (; row + kGroup <= product.rows; row += kGroup) {
      multiply_group<kGroup>(product, row, panel, tile + row * product.tile_stride);
    }
    for (; row + 4 <= product.rows; row += 4) {
      multiply_group<4>(product, row, panel, tile + row * product.tile_stride);
    }
    for (; row < product.rows; ++row) {
      multiply_group<1>(product, row, panel, tile + row * product.tile_stride);
    }
  }
}

// The weight's rows, at most kWidth, as the first columns of a panel.
template <typename T>
void pack_plain(const ConstMatrix& weight, float* panel) {
  const int64_t depth = weight.columns;
  int64_t n = 0;
  for (; n + kLanes <= weight.rows; n += kLanes) {
    const T* rows = weight.row<T>(n);
    const auto* ahead = reinterpret_cast<const char*>(rows + kLanes * weight.stride);
    int64_t k = 0;
    for (; k + kLanes <= depth; k += kLanes) {
      ahead = prefetch<kLanes * kLanes * sizeof(T)>(ahead);
      const auto row = [&](int64_t i) HWY_ATTR { return load(rows + i * weight.stride + k); };
      transpose_square(row, panel + k * kWidth + n, kWidth);
    }
    for (; k < depth; ++k) {
      for (int64_t i = 0; i < kLanes; ++i) {
        panel[k * kWidth + n + i] = to_float(rows[i * weight.stride + k]);
      }
    }
  }
  for (; n < weight.rows; ++n) {
    const T* row = weight.row<T>(n);
    for (int64_t k = 0; k < depth; ++k) panel[k * kWidth + n] = to_float(row[k]);
  }
}

template <typename T>
HWY_INLINE void convert(const T* from, int64_t count, float* out) {
  int64_t k = 0;
  for (; k + kLanes <= count; k += kLanes) hn::StoreU(load(from + k), Floats(), out + k);
  for (; k < count; ++k) out[k] = to_float(from[k]);
}

// Columns [begin, begin + count) of all of the weight's rows as floats, `stride` apart.
ConstMatrix decode_part(const ConstMatrix& weight, int64_t begin, int64_t count, float* values,
                        int64_t stride) {
  if (is_block_type(weight.type)) {
    for (int64_t n = 0; n < weight.rows; ++n) {
      decode_weights(weight, n, begin, count, values + n * stride);
    }
  } else {
    visit_plain_weight(weight.type, [&]<typename T>(const T*) HWY_ATTR {
      for (int64_t n = 0; n < weight.rows; ++n) {
        convert(weight.row<T>(n) + begin, count, values + n * stride);
      }
    });
  }
  return {reinterpret_cast<const std::byte*>(values), DType::f32, weight.rows, count, stride};
}

void pack_blocks(const ConstMatrix& weight, float* panel) {
  constexpr int64_t kColumns = 256;
  HWY_ALIGN float values[kLanes * kColumns];  // 16 KB at most
  for (int64_t n = 0; n < weight.rows; n += kLanes) {
    const auto rows = weight.rows_from(n, HWY_MIN(kLanes, weight.rows - n));
    for (int64_t k = 0; k < weight.columns; k += kColumns) {
      const int64_t count = HWY_MIN(kColumns, weight.columns - k);
      pack_plain<float>(decode_part(rows, k, count, values, kColumns), panel + k * kWidth + n);
    }
  }
}

void pack_rows(const ConstMatrix& weight, float* panels) {
  for (int64_t n = 0; n < weight.rows; n += kWidth, panels += weight.columns * kWidth) {
    const auto rows = weight.rows_from(n, HWY_MIN(kWidth, weight.rows - n));
    if (rows.rows < kWidth) {
      std::memset(panels, 0, static_cast<size_t>(weight.columns * kWidth) * sizeof(float));
    }
    if (is_block_type(weight.type)) {
      pack_blocks(rows, panels);
    } else {
      visit_plain_weight(weight.type,
                         [&]<typename T>(const T*) HWY_ATTR { pack_plain<T>(rows, panels); });
    }
  }
}

void pack_columns(const ConstMatrix& matrix, float* panels) {
  for (int64_t n = 0; n < matrix.columns; n += kWidth) {
    const auto count = static_cast<size_t>(HWY_MIN(kWidth, matrix.columns - n));
    for (int64_t k = 0; k < matrix.rows; ++k, panels += kWidth) {
      std::memcpy(panels, matrix.row<float>(k) + n, count * sizeof(float));
      std::memset(panels + count, 0, (static_cast<size_t>(kWidth) - count) * sizeof(float));
    }
  }
}

// Where dot products go.
struct Tile {
  float* sums;
  int64_t stride;
  bool accumulate;  // adds to what is there
};

// `rows` rows of x with `outputs` rows of the weight, the first of which is output n.
template <int rows, int outputs, typename T>
HWY_INLINE void multiply_dots(const ConstMatrix& x, int64_t row, const ConstMatrix& weights,
                              int64_t first, const Tile& tile) {
  const T* weight = weights.row<T>(first);
  const int64_t stride = weights.stride;
  Vector sums[rows][outputs];
  for (auto& of_row : sums) {
    for (auto& sum : of_row) sum = hn::Zero(Floats());
  }
  const float* from = x.row<float>(row);
  const int64_t depth = x.columns;
  const auto* ahead = reinterpret_cast<const char*>(weight + outputs * stride);
  int64_t k = 0;
  for (; k + kLanes <= depth; k += kLanes) {
    if constexpr (outputs > 1) ahead = prefetch<outputs * kLanes * sizeof(T)>(ahead);
    Vector values[rows];
    for (int i = 0; i < rows; ++i) values[i] = load(from + i * x.stride + k);
    for (int n = 0; n < outputs; ++n) {
      const auto w = load(weight + n * stride + k);
      for (int i = 0; i < rows; ++i) sums[i][n] = hn::MulAdd(values[i], w, sums[i][n]);
    }
  }
  if (k < depth) {
    Vector values[rows];
    for (int i = 0; i < rows; ++i) values[i] = load_first(from + i * x.stride + k, depth - k);
    for (int n = 0; n < outputs; ++n) {
      const auto w = load_first(weight + n * stride + k, depth - k);
      for (int i = 0; i < rows; ++i) sums[i][n] = hn::MulAdd(values[i], w, sums[i][n]);
    }
  }
  for (int i = 0; i < rows; ++i) {
    add_lanes(sums[i], tile.accumulate, tile.sums + (row + i) * tile.stride + first);
  }
}

// One row of x with rows of the weight one after another, in the order of memory: what the hardware
// fetches ahead by itself. Four sums hide the latency of an addition. (57 MB of f16 a step, one
// Zen 4 core: 16.5 GB/s; 12.5 for eight rows side by side with memory asked for ahead, as above.)
template <typename T>
void multiply_stream(const ConstMatrix& x, const ConstMatrix& weight, const Tile& tile) {
  constexpr int kOutputs = 8;  // whose sums are folded together
  constexpr int kSums = 4;

  const float* values = x.row<float>(0);
  const int64_t depth = x.columns;
  for (int64_t first = 0; first < weight.rows; first += kOutputs) {
    const int64_t count = HWY_MIN(kOutputs, weight.rows - first);
    Vector totals[kOutputs];
    for (auto& total : totals) total = hn::Zero(Floats());
    for (int64_t n = 0; n < count; ++n) {
      const T* row = weight.row<T>(first + n);
      Vector sums[kSums];
      for (auto& sum : sums) sum = hn::Zero(Floats());
      int64_t k = 0;
      for (; k + kSums * kLanes <= depth; k += kSums * kLanes) {
        for (int i = 0; i < kSums; ++i) {
          const int64_t at = k + i * kLanes;
          sums[i] = hn::MulAdd(load(values + at), load(row + at), sums[i]);
        }
      }
      for (; k + kLanes <= depth; k += kLanes) {
        sums[0] = hn::MulAdd(load(values + k), load(row + k), sums[0]);
      }
      if (k < depth) {
        sums[1] =
            hn::MulAdd(load_first(values + k, depth - k), load_first(row + k, depth - k), sums[1]);
      }
      totals[n] = hn::Add(hn::Add(sums[0], sums[1]), hn::Add(sums[2], sums[3]));
    }
    float* out = tile.sums + first;
    if (count == kOutputs) {
      add_lanes(totals, tile.accumulate, out);
    } else {
      for (int64_t n = 0; n < count; ++n) {
        const Vector one[] = {totals[n]};
        add_lanes(one, tile.accumulate, out + n);
      }
    }
  }
}

template <int rows, int outputs, typename T>
void multiply_all(const ConstMatrix& x, const ConstMatrix& weight, const Tile& tile) {
  const int64_t end = even_groups(x.rows).end;
  int64_t n = 0;
  const auto advance = [&]<int wide>(std::integral_constant<int, wide>) HWY_ATTR {
    for (; n + wide <= weight.rows; n += wide) {
      int64_t row = 0;
      for (; row < end; row += rows) multiply_dots<rows, wide, T>(x, row, weight, n, tile);
      if constexpr (rows > 1) {
        for (; row < x.rows; row += rows - 1) {
          multiply_dots<rows - 1, wide, T>(x, row, weight, n, tile);
        }
      }
    }
  };
  advance(std::integral_constant<int, outputs>());
  advance(std::integral_constant<int, 1>());
}

// Outputs at a time: what the registers hold beside the rows.
constexpr bool kManyRegisters = HWY_TARGET <= HWY_AVX3;
constexpr int kWide = kManyRegisters ? 6 : 4;
constexpr int kNarrow = kManyRegisters ? 6 : 2;

template <typename T>
void multiply_plain(const ConstMatrix& x, const ConstMatrix& weight, const Tile& tile) {
  const int64_t most = even_groups(x.rows).size;
  if (most == 1) return multiply_stream<T>(x, weight, tile);
  if (most == 2) return multiply_all<2, kWide, T>(x, weight, tile);
  if (most == 3) return multiply_all<3, kWide, T>(x, weight, tile);
  multiply_all<4, kNarrow, T>(x, weight, tile);
}

void multiply_decoded(const ConstMatrix& x, const ConstMatrix& weight, float* tile,
                      int64_t tile_stride) {
  constexpr int64_t kOutputs = 12;  // a multiple of those multiplied together
  constexpr int64_t kColumns = 512;
  HWY_ALIGN float values[kOutputs * kColumns];  // 24 KB
  for (int64_t n = 0; n < weight.rows; n += kOutputs) {
    const auto rows = weight.rows_from(n, HWY_MIN(kOutputs, weight.rows - n));
    for (int64_t k = 0; k < weight.columns; k += kColumns) {
      const int64_t count = HWY_MIN(kColumns, weight.columns - k);
      multiply_plain<float>(x.columns_from(k, count), decode_part(rows, k, count, values, kColumns),
                            {tile + n, tile_stride, k > 0});
    }
  }
}

void multiply_rows(const ConstMatrix& x, const ConstMatrix& weight, float* tile,
                   int64_t tile_stride) {
  // Multiplied in place, a weight is converted anew for every four rows of x.
  const bool once = weight.type != DType::f32 && x.rows > 4;
  if (once || is_block_type(weight.type)) return multiply_decoded(x, weight, tile, tile_stride);
  visit_plain_weight(weight.type, [&]<typename T>(const T*) HWY_ATTR {
    multiply_plain<T>(x, weight, {tile, tile_stride, false});
  });
}

}  // namespace

ProductOps product_ops() {
  return {.panel_width = kWidth,
          .row_group = kGroup,
          .few_rows = kFewRows,
          .pack_rows = pack_rows,
          .pack_columns = pack_columns,
          .multiply_panels = multiply_panels,
          .multiply_rows = multiply_rows};
}

}  // namespace HWY_NAMESPACE
}  // namespace slim
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace slim {

HWY_EXPORT(product_ops);
ProductOps product_ops(Target target) { return pick(HWY_DISPATCH_TABLE(product_ops), target)(); }

}  // namespace slim
#endif
