// The fused attention kernel: a block of queries against consecutive paged rows, each read once.
//
// Per tile of 64 rows (a page; n of them are to be read), for all R queries of the block:
//   score   weights[R, n] = scale * queries[R, k] . keys[n, k]^T
//   weigh   raise the running maximum, weights = exp(weights - maximum), running sum
//   mix     mixed[R, v] += weights[R, n] * values[n, v]
// Both products are small matrix products on a tile that stays in the cache: rows come from memory
// once, whatever R is. At 6 heads and 384 columns a tile costs 2 * 6 * 384 * 64 multiply-adds =
// 18 k clocks of 512-bit arithmetic for 48 KB of binary16; memory gives those 48 KB in about as
// long. So neither may wait for the other: the next tile is prefetched in step with the arithmetic.
//
// Blocking, for 32 registers (16 in brackets):
//   score   6 x 4 (3 x 4) sums of query times row, vectors along the columns: 10 loads feed 24
//           multiply-adds. Four rows' sums are then folded together, 13 instructions a query. Of
//           the tile 16 rows at a time meet all queries, so that with several parts of 6 queries
//           they are found in the first-level cache (24 KB at 384 columns of f32).
//   mix     6 x 4 (6 x 2) sums of query times vector of columns, kept over the rows of the tile; a
//           row costs 4 loads and 6 broadcasts for 24 multiply-adds. The 64 x 64 columns in use are
//           16 KB and serve all parts of 6 queries. `mixed` (R x v floats, kept below 256 KB by
//           attend.cpp) is loaded and stored once a tile, 1 / 64 of the work.
// R is split evenly: 8 queries are 4 + 4, since 6 + 2 would leave 2 bound by loads.
//
// f32, f16 and bf16 rows are read where they lie, twice, and widened in registers: that runs beside
// the multiply-adds, where a decoded copy of the tile cost 18 % of the whole in stores. i8 rows are
// decoded, because their scales would cost multiplications.
//
// Measured on one Zen 4 core (peak 110 GFLOP/s), 1500 rows in cache: 6 heads x 384 columns run at
// 95 GFLOP/s in f16 and bf16, 80 in i8; 20 heads x 1280 at 101 and 94.
#include <array>
#include <cstddef>
#include <type_traits>

#include "kernels/cpu/attend_ops.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attend_kernel.cpp"
#include "hwy/foreach_target.h"
// After foreach_target.
#include "kernels/cpu/row_codec_inl.h"
#include "kernels/cpu/vector_math_inl.h"

HWY_BEFORE_NAMESPACE();
namespace slim {
namespace HWY_NAMESPACE {
namespace {

constexpr int64_t kLanes = hn::MaxLanes(Floats());
constexpr bool kManyRegisters = HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL;
constexpr int64_t kScoreQueries = kManyRegisters ? 6 : 3;
constexpr int64_t kScoreRows = 4;
constexpr int64_t kMixQueries = 6;
constexpr int64_t kMixColumns = 64;  // of a tile, mixed by all queries before the next 64
constexpr int64_t kStripRows = 16;   // decoded, then scored by all queries
constexpr int64_t kCacheLine = 64;

// Vectors of columns that `queries` queries mix at once: what fits the registers, but enough
// independent sums (8) to hide the latency of an addition where there are few queries.
constexpr int64_t mix_vectors(int64_t queries) {
  if (kManyRegisters) return 4;
  return queries == 1 ? 8 : queries <= 3 ? 4 : 2;
}

// The next tile's bytes, one run a plane, fetched into the second-level cache in step with the work
// on this tile: memory is then busy all the time, and no burst fills the queue of pending loads.
struct Prefetch {
  struct Run {
    const std::byte* next = nullptr;
    int64_t lines = 0;  // cache lines left
  };
  Run runs[2];
  float lines_per_product = 0.0F;  // of a run, for one multiply-add
  float due = 0.0F;                // lines

  void advance(int64_t products) {
    due += static_cast<float>(products) * lines_per_product;
    const int64_t lines = static_cast<int64_t>(due);
    due -= static_cast<float>(lines);
    for (Run& run : runs) {
      const int64_t now = std::min(lines, run.lines);
      run.lines -= now;
      for (int64_t i = 0; i < now; ++i, run.next += kCacheLine) {
        __builtin_prefetch(run.next, 0, 2);
      }
    }
  }
};

// Rows of one tile, from their first column of interest on: in their page, or decoded.
template <typename T>
struct Tile {
  const T* data = nullptr;
  int64_t stride = 0;

  const T* row(int64_t s) const { return data + s * stride; }
};

// Queries against rows [begin, end) of a tile, columns [0, width) of both.
template <typename T>
struct Scoring {
  const float* const* queries = nullptr;
  float* const* weights = nullptr;
  Tile<T> keys;
  int64_t begin = 0;
  int64_t end = 0;
  int64_t width = 0;
  float scale = 1.0F;
};

#if HWY_TARGET != HWY_SCALAR
// The sums over the lanes of four vectors, as the lanes of one.
template <class D>
HWY_INLINE hn::Vec<hn::FixedTag<float, 4>> fold(D, hn::Vec<D> v) {
  if constexpr (hn::MaxLanes(D()) > 4) {
    const hn::Half<D> half;
    return fold(half, hn::Add(hn::LowerHalf(half, v), hn::UpperHalf(half, v)));
  } else {
    return v;
  }
}
HWY_INLINE void store_sums(const Vector (&sums)[kScoreRows], float scale, float* to) {
  const Floats f;
  const hn::Repartition<double, Floats> pairs;
  const hn::FixedTag<float, 4> four;
  const auto fold_pairs = [&](Vector a, Vector b) HWY_ATTR {
    return hn::BitCast(pairs, hn::Add(hn::InterleaveLower(f, a, b), hn::InterleaveUpper(f, a, b)));
  };
  // Lanes of every 128-bit block: a0+a2 b0+b2 a1+a3 b1+b3, and the same of c and d.
  const auto ab = fold_pairs(sums[0], sums[1]);
  const auto cd = fold_pairs(sums[2], sums[3]);
  const auto low = hn::BitCast(f, hn::InterleaveLower(pairs, ab, cd));
  const auto high = hn::BitCast(f, hn::InterleaveUpper(pairs, ab, cd));
  hn::StoreU(hn::Mul(fold(f, hn::Add(low, high)), hn::Set(four, scale)), four, to);
}
#else
HWY_INLINE void store_sums(const Vector (&sums)[kScoreRows], float scale, float* to) {
  for (int64_t r = 0; r < kScoreRows; ++r) to[r] = hn::GetLane(sums[r]) * scale;
}
#endif

// Q queries against four rows. Writes four weights of each query at `row`.
template <int64_t Q, typename T>
HWY_INLINE void score_four(const Scoring<T>& s, const T* const (&keys)[kScoreRows], int64_t row) {
  const Floats f;
  Vector sums[Q][kScoreRows];
  for (int64_t q = 0; q < Q; ++q) {
    for (int64_t r = 0; r < kScoreRows; ++r) sums[q][r] = hn::Zero(f);
  }
  int64_t k = 0;
  for (; k + kLanes <= s.width; k += kLanes) {
    Vector query[Q];
    for (int64_t q = 0; q < Q; ++q) query[q] = load(s.queries[q] + k);
    for (int64_t r = 0; r < kScoreRows; ++r) {
      const Vector key = load(keys[r] + k);
      for (int64_t q = 0; q < Q; ++q) sums[q][r] = hn::MulAdd(query[q], key, sums[q][r]);
    }
  }
  if (const int64_t rest = s.width - k; rest > 0) {
    for (int64_t r = 0; r < kScoreRows; ++r) {
      const Vector key = load_first(keys[r] + k, rest);
      for (int64_t q = 0; q < Q; ++q) {
        sums[q][r] = hn::MulAdd(load_first(s.queries[q] + k, rest), key, sums[q][r]);
      }
    }
  }
  for (int64_t q = 0; q < Q; ++q) store_sums(sums[q], s.scale, s.weights[q] + row);
}

// All rows of a scoring. The last row stands in for those that would make up the last four: their
// weights are written within the tile and never read.
template <int64_t Q, typename T>
void score(const Scoring<T>& s, Prefetch& prefetch) {
  for (int64_t row = s.begin; row < s.end; row += kScoreRows) {
    prefetch.advance(kScoreRows * Q * s.width);
    const T* keys[kScoreRows];
    for (int64_t r = 0; r < kScoreRows; ++r) {
      keys[r] = s.keys.row(std::min(row + r, s.end - 1));
    }
    score_four<Q, T>(s, keys, row);
  }
}

// Queries that mix the same columns of rows [0, rows) of a tile.
template <typename T>
struct Mixing {
  const float* weights = nullptr;  // one query's are kTileRows after the last one's
  Tile<T> values;
  int64_t rows = 0;
  float* mixed = nullptr;
  int64_t width = 0;
};

// Columns [c, c + V vectors) for Q queries.
template <int64_t Q, int64_t V, typename T>
HWY_INLINE void mix_columns(const Mixing<T>& m, int64_t c, Prefetch& prefetch) {
  const Floats f;
  Vector sums[Q][V];
  for (int64_t q = 0; q < Q; ++q) {
    for (int64_t v = 0; v < V; ++v) sums[q][v] = load(m.mixed + q * m.width + c + v * kLanes);
  }
  const T* values = m.values.data + c;
  for (int64_t s = 0; s < m.rows; ++s, values += m.values.stride) {
    if (s % kStripRows == 0) prefetch.advance(kStripRows * Q * V * kLanes);
    Vector value[V];
    for (int64_t v = 0; v < V; ++v) value[v] = load(values + v * kLanes);
    for (int64_t q = 0; q < Q; ++q) {
      const Vector weight = hn::Set(f, m.weights[q * kTileRows + s]);
      for (int64_t v = 0; v < V; ++v) sums[q][v] = hn::MulAdd(weight, value[v], sums[q][v]);
    }
  }
  for (int64_t q = 0; q < Q; ++q) {
    for (int64_t v = 0; v < V; ++v) {
      hn::StoreU(sums[q][v], f, m.mixed + q * m.width + c + v * kLanes);
    }
  }
}

// Columns [begin, end).
template <int64_t Q, typename T>
void mix(const Mixing<T>& m, int64_t begin, int64_t end, Prefetch& prefetch) {
  constexpr int64_t kVectors = mix_vectors(Q);
  int64_t c = begin;
  for (; c + kVectors * kLanes <= end; c += kVectors * kLanes)
    mix_columns<Q, kVectors>(m, c, prefetch);
  for (; c + kLanes <= end; c += kLanes) mix_columns<Q, 1>(m, c, prefetch);
  for (; c < end; ++c) {
    for (int64_t q = 0; q < Q; ++q) {
      float sum = m.mixed[q * m.width + c];
      for (int64_t s = 0; s < m.rows; ++s) {
        sum += m.weights[q * kTileRows + s] * to_float(m.values.row(s)[c]);
      }
      m.mixed[q * m.width + c] = sum;
    }
  }
}

template <typename T>
constexpr std::array kScore{&score<1, T>, &score<2, T>, &score<3, T>,
                            &score<4, T>, &score<5, T>, &score<6, T>};
template <typename T>
constexpr std::array kMix{&mix<1, T>, &mix<2, T>, &mix<3, T>, &mix<4, T>, &mix<5, T>, &mix<6, T>};

// Calls part(begin, size) for `count` things in parts of as equal sizes as can be, none above
// `largest`.
template <typename Function>
HWY_INLINE void for_even_parts(int64_t count, int64_t largest, const Function& part) {
  const int64_t parts = (count + largest - 1) / largest;
  for (int64_t i = 0; i < parts; ++i) {
    const int64_t begin = count * i / parts;
    part(begin, count * (i + 1) / parts - begin);
  }
}

// weights[0, n) = exp(scores - maximum) in place, with the state and the mixture brought up to the
// new maximum.
void weigh(float* weights, int64_t n, SoftmaxState& state, float* mixed, int64_t width) {
  const Floats f;
  // Scores past the end become -infinity, weights of zero. A tile's row has room: lanes divide it.
  const int64_t padded = (n + kLanes - 1) / kLanes * kLanes;
  std::fill(weights + n, weights + padded, SoftmaxState::kEmpty);
  Vector largest = load(weights);
  for (int64_t s = kLanes; s < padded; s += kLanes) largest = hn::Max(largest, load(weights + s));
  const float factor = state.raise(hn::GetLane(hn::MaxOfLanes(f, largest)));
  if (factor != 1.0F) {
    for (int64_t c = 0; c < width; ++c) mixed[c] *= factor;
  }
  const Vector origin = hn::Set(f, state.origin());
  Vector sum = hn::Zero(f);
  for (int64_t s = 0; s < padded; s += kLanes) {
    const Vector weight = exponential(hn::Sub(load(weights + s), origin));
    sum = hn::Add(sum, weight);
    hn::StoreU(weight, f, weights + s);
  }
  state.sum += hn::GetLane(hn::SumOfLanes(f, sum));
}

// What a tile of rows of T is read as: i8 is decoded first, and so is everything where there are no
// vector instructions for it.
template <typename T>
using TileElement =
    std::conditional_t<std::is_same_v<T, float> || (kVectorCodec && !std::is_same_v<T, int8_t>), T,
                       float>;

// One block of queries at work on its rows.
class BlockKernel {
 public:
  BlockKernel(const AttendBlock& block, const AttendMemory& memory, const AttendPartial& partial)
      : block_(block),
        step_(*block.step),
        memory_(memory),
        partial_(partial),
        shared_(same_rows(step_)),
        key_group_(step_.key_stride == 0 ? step_.heads : step_.heads_per_key) {}

  void run(const RowRange& range) {
    order_queries();
    std::fill_n(partial_.states, block_.queries(), SoftmaxState{});
    std::fill_n(partial_.mixed, block_.queries() * step_.value_width, 0.0F);
    for (int64_t row = range.begin; row < range.end; row += kTileRows) {
      const int64_t rows = std::min(kTileRows, range.end - row);
      aim_prefetch(row + kTileRows, range.ahead, rows);
      visit(step_.keys.format.type,
            [&](auto tag) { score_tile<typename decltype(tag)::type>(row, rows); });
      weigh_tile(row, rows);
      visit(step_.values.format.type,
            [&](auto tag) { mix_tile<typename decltype(tag)::type>(row, rows); });
    }
  }

 private:
  int64_t key_queries() const { return block_.tokens * key_group_; }

  // Scoring takes the queries of a group of heads that score the same columns together.
  void order_queries() {
    int64_t next = 0;
    for (int64_t group = 0; group < step_.heads; group += key_group_) {
      for (int64_t t = 0; t < block_.tokens; ++t) {
        const float* token = step_.queries.row<float>(block_.slice->first + block_.first + t);
        for (int64_t head = group; head < group + key_group_; ++head, ++next) {
          memory_.queries[next] = token + head * step_.key_width;
          memory_.query_weights[next] = memory_.weights + block_.index(t, head) * kTileRows;
        }
      }
    }
  }

  const std::byte* address(const Plane& plane, int64_t row) const {
    return block_.slice->pages[row / kPageRows] + plane.offset +
           row % kPageRows * plane.format.bytes();
  }

  void aim_prefetch(int64_t row, int64_t end, int64_t rows) {
    prefetch_ = {};
    const int64_t wanted = std::min(kTileRows, end - row);
    if (wanted <= 0) return;
    const auto aim = [&](const Plane& plane) -> Prefetch::Run {
      return {address(plane, row), (wanted * plane.format.bytes() + kCacheLine - 1) / kCacheLine};
    };
    prefetch_.runs[0] = aim(step_.keys);
    if (!shared_) prefetch_.runs[1] = aim(step_.values);
    const int64_t lines = std::max(prefetch_.runs[0].lines, prefetch_.runs[1].lines);
    const int64_t products = rows * block_.queries() * (step_.key_width + step_.value_width);
    prefetch_.lines_per_product = static_cast<float>(lines) / static_cast<float>(products);
  }

  // The tile of `plane` from `row` on, where rows [begin, end) are wanted and not decoded yet.
  template <typename T>
  Tile<TileElement<T>> read(const Plane& plane, int64_t row, int64_t begin, int64_t end,
                            float* decoded) const {
    const std::byte* source = address(plane, row);
    if constexpr (std::is_same_v<T, TileElement<T>>) {
      return {reinterpret_cast<const T*>(source), plane.format.width};
    } else {
      const int64_t stride = tile_stride(plane.format.width);
      for (int64_t s = begin; s < end; ++s) {
        decode(plane.format, source + s * plane.format.bytes(), decoded + s * stride);
      }
      return {decoded, stride};
    }
  }

  template <typename T>
  void score_tile(int64_t row, int64_t rows) {
    for (int64_t begin = 0; begin < rows; begin += kStripRows) {
      const int64_t end = std::min(begin + kStripRows, rows);
      const auto keys = read<T>(step_.keys, row, begin, end, memory_.keys);
      for (int64_t group = 0; group < step_.heads / key_group_; ++group) {
        const Tile<TileElement<T>> columns{keys.data + group * step_.key_stride, keys.stride};
        for_even_parts(key_queries(), kScoreQueries, [&](int64_t first, int64_t count) {
          const int64_t query = group * key_queries() + first;
          const Scoring<TileElement<T>> scoring{memory_.queries + query,
                                                memory_.query_weights + query,
                                                columns,
                                                begin,
                                                end,
                                                step_.key_width,
                                                step_.scale};
          kScore<TileElement<T>>[static_cast<size_t>(count - 1)](scoring, prefetch_);
        });
      }
    }
  }

  // How many rows of this tile the queries of token t see.
  int64_t seen(int64_t t, int64_t row, int64_t rows) const {
    return std::clamp<int64_t>(block_.visible(t) - row, 0, rows);
  }

  void weigh_tile(int64_t row, int64_t rows) {
    for (int64_t t = 0; t < block_.tokens; ++t) {
      const int64_t n = seen(t, row, rows);
      if (n == 0) continue;
      for (int64_t head = 0; head < step_.heads; ++head) {
        const int64_t query = block_.index(t, head);
        weigh(memory_.weights + query * kTileRows, n, partial_.states[query],
              partial_.mixed + query * step_.value_width, step_.value_width);
      }
    }
  }

  template <typename T>
  void mix_tile(int64_t row, int64_t rows) {
    const auto values = shared_ ? read<T>(step_.keys, row, rows, rows, memory_.keys)
                                : read<T>(step_.values, row, 0, rows, memory_.values);
    const int64_t group_heads = block_.group_heads();
    for (int64_t group = 0; group < step_.heads / group_heads; ++group) {
      const Tile<TileElement<T>> columns{values.data + group * step_.value_stride, values.stride};
      const int64_t first = block_.index(0, group * group_heads);
      if (seen(0, row, rows) == rows) {  // then all later tokens see the whole tile too
        mix_queries(columns, first, block_.tokens * group_heads, rows);
        continue;
      }
      // Token by token: a row that a query does not see must not reach it even with weight 0.
      for (int64_t t = 0; t < block_.tokens; ++t) {
        mix_queries(columns, first + t * group_heads, group_heads, seen(t, row, rows));
      }
    }
  }

  template <typename T>
  void mix_queries(const Tile<T>& columns, int64_t first, int64_t count, int64_t rows) {
    const int64_t width = step_.value_width;
    for (int64_t begin = 0; begin < width; begin += kMixColumns) {
      for_even_parts(count, kMixQueries, [&](int64_t part, int64_t size) {
        const int64_t query = first + part;
        const Mixing<T> mixing{memory_.weights + query * kTileRows, columns, rows,
                               partial_.mixed + query * width, width};
        kMix<T>[static_cast<size_t>(size - 1)](mixing, begin, std::min(begin + kMixColumns, width),
                                               prefetch_);
      });
    }
  }

  const AttendBlock& block_;
  const Attend& step_;
  const AttendMemory& memory_;
  const AttendPartial& partial_;
  const bool shared_;  // values are the keys' rows: one read
  const int64_t key_group_;
  Prefetch prefetch_;
};

void attend(const AttendBlock& block, const RowRange& range, const AttendMemory& memory,
            const AttendPartial& partial) {
  BlockKernel(block, memory, partial).run(range);
}

}  // namespace

AttendOps make_attend_ops() { return {attend, encode}; }

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace slim
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace slim {

HWY_EXPORT(make_attend_ops);

AttendOps attend_ops(Target target) { return pick(HWY_DISPATCH_TABLE(make_attend_ops), target)(); }

}  // namespace slim
#endif
