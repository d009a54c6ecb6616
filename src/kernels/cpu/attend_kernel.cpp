// The fused attention kernel: a block of queries against consecutive paged rows, each read once.
//
// Per tile of 64 rows (a page; those that some query sees are read), for the queries of each group
// of heads that mix the same columns:
//   score   weights[q, s] = scale * query . key[s], then factor, cap, slope and bias
//   weigh   raise the running maximum, weights = exp(weights - maximum), running sum
//   mix     mixed[q] += sum over s of weights[q, s] * value[s]
// Both products are small matrix products on a tile that stays in the cache: rows come from memory
// once, whatever the number of queries. At 6 heads and 384 columns a tile costs 2 * 6 * 384 * 64
// multiply-adds = 18 k clocks of 512-bit arithmetic for 48 KB of binary16; memory gives those 48 KB
// in about as long. So neither may wait for the other: the next tile is prefetched in step with the
// arithmetic.
//
// f32, f16 and bf16 rows are read where they lie, twice, and widened in registers: that runs beside
// the multiply-adds, where a decoded copy of the tile cost 18 % of the whole in stores. Other rows
// are decoded first, but never a whole page (64 x 2048 floats are 512 KB): for scores 16 rows of
// one head's columns at a time, with gain, bias and rotation applied there; for mixing 64 columns
// of the tile at a time, which all queries mix before the next 64. All that is decoded stays in the
// first-level cache (second, where heads score whole rows).
//
// Where queries and weights are rounded to i16, rows of i16 are multiplied as they lie
// (int16_rows.h), at up to twice the rate.
//
// Where sealed values weigh less than 2^-27 of the sum so far, a query skips their mixing: 2^-27 of
// the result for every 64 rows skipped, which stays below what f32 sums lose (4 sqrt(rows) 2^-24)
// for any number of rows. A page with a channel that is not finite is never skipped.
#include <cmath>
#include <cstddef>
#include <cstring>
#include <type_traits>

#include "kernels/cpu/attend_ops.h"
#include "kernels/cpu/distance_bias.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attend_kernel.cpp"
#include "hwy/foreach_target.h"
// After foreach_target.
#include "kernels/cpu/attend_products_inl.h"
#include "kernels/cpu/attend_scores_inl.h"
#include "kernels/cpu/key_turn_inl.h"
#include "kernels/cpu/row_codec_inl.h"
#include "kernels/cpu/vector_math_inl.h"

HWY_BEFORE_NAMESPACE();
namespace slim {
namespace HWY_NAMESPACE {
namespace {

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

// Whether rows of T are read where they lie. i8 and i16 are decoded first, because their scales
// would cost multiplications, and so is everything where there are no vector instructions for it.
template <typename T>
constexpr bool kReadInPlace = std::is_same_v<T, float> ||
                              (kVectorCodec && !std::is_same_v<T, int8_t>);

// Calls f with the type that rows are read in place as, or with void where they are decoded.
template <typename Function>
decltype(auto) visit_in_place(const RowFormat& format, const Function& f) {
  if (format.sealed() || format.type == DType::i16) return f(std::type_identity<void>());
  return visit(format.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    return f(std::type_identity<std::conditional_t<kReadInPlace<T>, T, void>>());
  });
}

bool read_in_place(const RowFormat& format) {
  return visit_in_place(format,
                        [](auto tag) { return !std::is_void_v<typename decltype(tag)::type>; });
}

// Columns of keys that are transposed, at most: 80 KB.
constexpr int64_t kTransposedWidth = 256;

// One block of queries at work on its rows.
class BlockKernel {
 public:
  BlockKernel(const AttendBlock& block, const AttendMemory& memory, const AttendPartial& partial)
      : block_(block),
        step_(*block.step),
        memory_(memory),
        partial_(partial),
        rotation_(step_.rotations.empty()
                      ? nullptr
                      : step_.rotations[static_cast<size_t>(block.slice->regime)]),
        group_heads_(block.group_heads()),
        batch_heads_(block.batch_heads()),
        key_heads_(step_.key_stride == 0 ? group_heads_ : step_.heads_per_key),
        transposed_(key_queries() >= kManyQueries && step_.key_width <= kTransposedWidth),
        turned_(rotation_ != nullptr || step_.key_gain != nullptr || step_.key_bias != nullptr),
        rounded_(memory.rounded_queries != nullptr),
        tile_is_kept_(keeps_tile(step_) && !transposed_ && !read_in_place(step_.keys.format)) {}

  void run(const RowRange& range) {
    order_queries();
    std::fill_n(partial_.states, block_.queries(), SoftmaxState{});
    std::fill_n(partial_.mixed, block_.queries() * step_.value_width, 0.0F);
    for (row_ = range.begin; row_ < range.end; row_ += kTileRows) {
      rows_ = std::min(kTileRows, range.end - row_);
      seen_ = {seen(0).begin, seen(block_.tokens - 1).end};
      if (seen_.none()) continue;
      aim_prefetch(range);
      fill_turns();
      may_skip_ = step_.values.format.sealed() && all_finite();
      for (int64_t batch = 0; batch < block_.heads; batch += batch_heads_) {
        score_batch(batch);
        for (int64_t group = batch; group < batch + batch_heads_; group += group_heads_) {
          weigh_group(group);
          mix_group(group);
        }
      }
    }
  }

 private:
  int64_t key_queries() const { return block_.tokens * key_heads_; }

  // Scoring takes the queries of heads that score the same columns together.
  void order_queries() {
    int64_t next = 0;
    for (int64_t first = 0; first < block_.heads; first += key_heads_) {
      for (int64_t t = 0; t < block_.tokens; ++t) {
        for (int64_t head = first; head < first + key_heads_; ++head, ++next) {
          memory_.queries[next] = block_.query(t, head);
          memory_.query_weights[next] = weights_of(t, head);
        }
      }
    }
    if (rounded_) {
      round_queries();
    } else if (rotation_ != nullptr || transposed_) {
      turn_queries();
    }
  }

  void round_queries() {
    for (int64_t q = 0; q < block_.queries(); ++q) {
      int16_t* to = memory_.rounded_queries + q * rounded_stride(step_.key_width);
      const float scale = memory_.integers.round(memory_.queries[q], step_.key_width, to);
      memory_.query_factors[q] = step_.scale * scale;
      memory_.rounded_rows[q] = to;
    }
  }

  // Copies of queries, turned to their positions and, for transposed keys, scaled.
  void turn_queries() {
    const int64_t width = step_.key_width;
    int64_t next = 0;
    for (int64_t first = 0; first < block_.heads; first += key_heads_) {
      for (int64_t t = 0; t < block_.tokens; ++t) {
        const int64_t position = block_.slice->position + block_.first + t;
        if (rotation_ != nullptr) {
          fill_turn(*rotation_, position / kPageRows, position % kPageRows, memory_.turns);
        }
        for (int64_t head = 0; head < key_heads_; ++head, ++next) {
          float* turned = memory_.turned + next * width;
          const float scale = transposed_ ? step_.scale : 1.0F;
          for (int64_t c = 0; c < width; ++c) turned[c] = scale * memory_.queries[next][c];
          if (rotation_ != nullptr) turn_head(*rotation_, memory_.turns, turned);
          memory_.queries[next] = turned;
        }
      }
    }
  }

  // Weights are those of one batch at a time.
  float* weights_of(int64_t t, int64_t head) const {
    return memory_.weights + block_.index(t, head) % (block_.tokens * batch_heads_) * kTileRows;
  }

  const std::byte* page(const Plane& plane, int64_t row) const {
    return block_.slice->pages[row / kPageRows] + plane.offset;
  }

  // At the tile after this one.
  void aim_prefetch(const RowRange& range) {
    prefetch_ = {};
    const Slice* slice = block_.slice;
    int64_t row = row_ + kTileRows;
    int64_t wanted = std::min(kTileRows, range.ahead - row);
    if (wanted <= 0 && range.next != nullptr) {
      slice = range.next;
      row = 0;
      wanted = std::min(kTileRows, slice->rows);
    }
    if (wanted <= 0 || block_.heads < step_.heads) return;
    const auto aim = [&](const Plane& plane) -> Prefetch::Run {
      const RowFormat& format = plane.format;
      const int64_t bytes = format.sealed() ? format.page_bytes() : wanted * format.bytes();
      return {slice->pages[row / kPageRows] + plane.offset, (bytes + kCacheLine - 1) / kCacheLine};
    };
    prefetch_.runs[0] = aim(step_.keys);
    if (!same_rows(step_)) prefetch_.runs[1] = aim(step_.values);
    const int64_t lines = std::max(prefetch_.runs[0].lines, prefetch_.runs[1].lines);
    const int64_t products = rows_ * block_.queries() * (step_.key_width + step_.value_width);
    prefetch_.lines_per_product = Prefetch::rate(lines, products);
  }

  // Rows of the tile that token t sees.
  Seen seen(int64_t t) const {
    return {std::clamp<int64_t>(block_.hidden(t) - row_, 0, rows_),
            std::clamp<int64_t>(block_.visible(t) - row_, 0, rows_)};
  }

  void fill_turns() const {
    if (rotation_ == nullptr) return;
    const int64_t tile = (block_.slice->base + row_) / kPageRows;
    for (int64_t s = seen_.begin; s < seen_.end; ++s) {
      fill_turn(*rotation_, tile, s, memory_.turns + s * rotation_->width());
    }
  }

  // Whether every number of the sealed tile is finite: so are its scales and middles.
  bool all_finite() const {
    const RowFormat& format = step_.values.format;
    const std::byte* scales = page(step_.values, row_) + format.plane_bytes();
    return bfloat16s_finite(reinterpret_cast<const BFloat16*>(scales), format.scale_count());
  }

  void score_batch(int64_t batch) {
    if (rounded_) return score_rounded();
    if (transposed_) return score_columns(batch);
    if (turned_) return score_strips<void>(batch);
    visit_in_place(step_.keys.format,
                   [&](auto tag) { score_strips<typename decltype(tag)::type>(batch); });
  }

  // The first column that a head of the block scores.
  int64_t key_column(int64_t head) const {
    return (block_.first_head + head) / step_.heads_per_key * step_.key_stride;
  }

  // Keys of a head as columns of 64 rows: then scores are mixtures of columns, weighed by the
  // numbers of the query.
  void score_columns(int64_t batch) {
    for (int64_t head = batch; head < batch + batch_heads_; head += key_heads_) {
      for (int64_t begin = seen_.begin / kStripRows * kStripRows; begin < seen_.end;
           begin += kStripRows) {
        const Tile<float> keys =
            turned_keys(key_column(head), begin, std::min(begin + kStripRows, seen_.end));
        transpose_strip(keys.row(begin), keys.stride, step_.key_width, memory_.columns + begin);
      }
      const int64_t first = head / key_heads_ * key_queries();
      for_even_parts(key_queries(), kMixQueries, [&](int64_t part, int64_t count) {
        score_columns(first + part, count, part / key_heads_, (part + count - 1) / key_heads_);
      });
    }
  }

  // `count` queries, of tokens `early` to `late`, against the rows that some of these see.
  void score_columns(int64_t query, int64_t count, int64_t early, int64_t late) {
    const int64_t begin = seen(early).begin / kStripRows * kStripRows;
    const int64_t end = (seen(late).end + kStripRows - 1) / kStripRows * kStripRows;
    if (begin >= end) return;
    float* const* weights = memory_.query_weights + query;
    for (int64_t q = 0; q < count; ++q) std::fill(weights[q] + begin, weights[q] + end, 0.0F);
    const Tile<float> columns{memory_.columns + begin, kColumnStride};
    kMix<float>[static_cast<size_t>(count - 1)](
        {memory_.queries + query, weights, columns, 0, step_.key_width, begin, end - begin},
        prefetch_);
  }

  // Strip by strip, so that a strip is read once for all heads. T: what rows are read in place as;
  // void where they are decoded.
  template <typename T>
  void score_strips(int64_t batch) {
    using Element = std::conditional_t<std::is_void_v<T>, float, T>;
    for (int64_t begin = seen_.begin / kStripRows * kStripRows; begin < seen_.end;
         begin += kStripRows) {
      const int64_t end = std::min(begin + kStripRows, seen_.end);
      if (tile_is_kept_) keep_rows(begin, end);
      for (int64_t head = batch; head < batch + batch_heads_; head += key_heads_) {
        const int64_t column = key_column(head);
        Tile<Element> keys;
        if constexpr (std::is_void_v<T>) {
          keys = turned_keys(column, begin, end);
        } else {
          keys = rows_in_place<T>(step_.keys, column);
        }
        const int64_t first = head / key_heads_ * key_queries();
        for_even_parts(key_queries(), kScoreQueries, [&](int64_t part, int64_t count) {
          const Scoring<Element> scoring{memory_.queries + first + part,
                                         memory_.query_weights + first + part,
                                         keys,
                                         begin,
                                         end,
                                         step_.key_width,
                                         step_.scale};
          kScore<Element>[static_cast<size_t>(count - 1)](scoring, prefetch_);
        });
      }
    }
  }

  void score_rounded() {
    const RowFormat& format = step_.keys.format;
    const int16_t* rows = reinterpret_cast<const int16_t*>(page(step_.keys, row_));
    const int64_t stride = format.bytes() / 2;
    largest_scale_ =
        memory_.integers.gather_scales({rows, stride, seen_.begin, seen_.end, format.width},
                                       memory_.row_scales, memory_.row_shares);
    for (int64_t begin = seen_.begin / kStripRows * kStripRows; begin < seen_.end;
         begin += kStripRows) {
      const int64_t end = std::min(begin + kStripRows, seen_.end);
      for_even_parts(block_.queries(), kRoundedQueries, [&](int64_t first, int64_t count) {
        memory_.integers.score({.queries = memory_.rounded_rows + first,
                                .factors = memory_.query_factors + first,
                                .weights = memory_.query_weights + first,
                                .rows = rows,
                                .stride = stride,
                                .scales = memory_.row_scales,
                                .begin = begin,
                                .end = end,
                                .width = step_.key_width},
                               count, prefetch_);
      });
    }
  }

  template <typename T>
  Tile<T> rows_in_place(const Plane& plane, int64_t column) const {
    const int64_t width = plane.format.width;
    return {reinterpret_cast<const T*>(page(plane, row_)) + column, width};
  }

  // Rows [begin, end) and `width` columns from `column` on as floats at `memory`, [rows, stride].
  // The tile's row 0 is where it would be.
  Tile<float> decoded(const Plane& plane, int64_t column, int64_t width, const Seen& rows,
                      float* memory) const {
    const int64_t stride = tile_stride(width);
    const int64_t early = column % decode_grain(plane.format);
    decode(plane.format, page(plane, row_), {rows.begin, rows.end, column - early, column + width},
           {memory, stride});
    return {memory + early - rows.begin * stride, stride};
  }

  // Rows of the tile that is kept: decoded here, read again when they are mixed.
  void keep_rows(int64_t begin, int64_t end) const {
    const int64_t stride = tile_stride(step_.keys.format.width);
    decode(step_.keys.format, page(step_.keys, row_), {begin, end, 0, step_.keys.format.width},
           {memory_.tile + begin * stride, stride});
  }
  Tile<float> kept_rows() const { return {memory_.tile, tile_stride(step_.keys.format.width)}; }

  // Rows [begin, end) of one head's keys as they are scored.
  Tile<float> turned_keys(int64_t column, int64_t begin, int64_t end) const {
    if (tile_is_kept_ && !turned_) return {kept_rows().data + column, kept_rows().stride};
    const Tile<float> keys =
        tile_is_kept_ ? copied_keys(column, begin, end)
                      : decoded(step_.keys, column, step_.key_width, {begin, end}, memory_.keys);
    const bool shifted = step_.key_gain != nullptr || step_.key_bias != nullptr;
    for (int64_t s = begin; s < end && turned_; ++s) {
      float* key = memory_.keys + (keys.row(s) - memory_.keys);
      if (shifted) {
        scale_and_shift(step_.key_gain == nullptr ? nullptr : step_.key_gain + column,
                        step_.key_bias == nullptr ? nullptr : step_.key_bias + column,
                        step_.key_width, key);
      }
      if (rotation_ == nullptr || s < seen_.begin) continue;
      turn_head(*rotation_, memory_.turns + s * rotation_->width(), key);
    }
    return keys;
  }

  Tile<float> copied_keys(int64_t column, int64_t begin, int64_t end) const {
    const int64_t stride = tile_stride(step_.key_width);
    const Tile<float> copies{memory_.keys - begin * stride, stride};
    for (int64_t s = begin; s < end; ++s) {
      std::copy_n(kept_rows().row(s) + column, step_.key_width,
                  memory_.keys + (s - begin) * stride);
    }
    return copies;
  }

  HeadBias bias_of(int64_t head) const {
    if (step_.bias.values == nullptr) return {};
    return {step_.bias.of_head(block_.first_head + head), step_.bias.reach};
  }

  // Scores become weights. Queries with something to mix are listed.
  void weigh_group(int64_t group) {
    const float* factors = step_.key_factors == nullptr
                               ? nullptr
                               : reinterpret_cast<const float*>(page(*step_.key_factors, row_));
    int64_t next = 0;
    for (int64_t t = 0; t < block_.tokens; ++t) {
      const Seen rows = seen(t);
      if (rows.none()) continue;
      for (int64_t head = group; head < group + group_heads_; ++head) {
        float* weights = weights_of(t, head);
        const float slope = step_.slopes == nullptr ? 0.0F : step_.slopes[block_.first_head + head];
        const int64_t distance =
            block_.slice->base + row_ - block_.slice->position - block_.first - t;
        adjust_scores(weights, {factors, step_.cap, slope, distance});
        add_distance_bias(weights, kTileRows, bias_of(head), 1.0F, distance);
        const int64_t query = block_.index(t, head);
        SoftmaxState& state = partial_.states[query];
        float* mixed = partial_.mixed + query * step_.value_width;
        const float sum = weigh(weights, rows.begin, rows.end, state, mixed, step_.value_width);
        if (may_skip_ && sum < 0x1p-27F * state.sum) continue;
        memory_.mix_weights[next] = weights;
        memory_.mixed[next] = mixed;
        memory_.mix_rows[next] = rows;
        ++next;
      }
    }
    mixing_ = next;
  }

  void mix_group(int64_t group) {
    if (mixing_ == 0) return;
    if (rounded_) return mix_rounded();
    if (mixing_ >= kCopiedQueries) return mix_columns_of<void>(group);
    visit_in_place(step_.values.format,
                   [&](auto tag) { mix_columns_of<typename decltype(tag)::type>(group); });
  }

  template <typename T>
  void mix_columns_of(int64_t group) {
    using Element = std::conditional_t<std::is_void_v<T>, float, T>;
    const int64_t head = (block_.first_head + group) / step_.heads_per_key;
    for (int64_t begin = 0; begin < step_.value_width; begin += kMixColumns) {
      const int64_t width = std::min(kMixColumns, step_.value_width - begin);
      const int64_t column = head * step_.value_stride + begin;
      Tile<Element> values;
      if constexpr (!std::is_void_v<T>) {
        values = rows_in_place<T>(step_.values, column);
      } else if (tile_is_kept_) {
        values = {kept_rows().data + column, kept_rows().stride};
      } else {
        values = decoded(step_.values, column, width, seen_, memory_.values);
      }
      for_even_parts(mixing_, kMixQueries, [&](int64_t first, int64_t count) {
        mix_seen(first, count, [&](int64_t query, int64_t queries, const Seen& rows) {
          kMix<Element>[static_cast<size_t>(queries - 1)](
              {memory_.mix_weights + query, memory_.mixed + query, values, rows.begin, rows.end,
               begin, width},
              prefetch_);
        });
      });
    }
  }

  void mix_rounded() {
    for (int64_t q = 0; q < mixing_; ++q) {
      int16_t* to = memory_.rounded_weights + (memory_.mix_weights[q] - memory_.weights);
      memory_.mix_factors[q] = largest_scale_ * memory_.integers.round_weights(
                                                    memory_.mix_weights[q], memory_.row_shares, to);
      memory_.rounded_mixing[q] = to;
    }
    const int16_t* rows = reinterpret_cast<const int16_t*>(page(step_.values, row_));
    for (int64_t column = 0; column < step_.value_width; column += kMixColumns) {
      for_even_parts(mixing_, kRoundedQueries, [&](int64_t first, int64_t count) {
        float* mixed[kRoundedQueries];
        for (int64_t q = 0; q < count; ++q) mixed[q] = memory_.mixed[first + q] + column;
        // A row that a query does not see has the integer weight 0, which nothing passes.
        memory_.integers.mix({.weights = memory_.rounded_mixing + first,
                              .factors = memory_.mix_factors + first,
                              .mixed = mixed,
                              .rows = rows + column,
                              .stride = step_.values.format.bytes() / 2,
                              .begin = memory_.mix_rows[first].begin,
                              .end = memory_.mix_rows[first + count - 1].end,
                              .width = std::min(kMixColumns, step_.value_width - column)},
                             count, prefetch_);
      });
    }
  }

  // Calls mix(query, queries, rows) for queries [first, first + count) of those that mix. Rows that
  // all of these queries see are mixed together, those before and after query by query: a row that
  // a query does not see must not reach it even with weight 0.
  template <typename Mix>
  void mix_seen(int64_t first, int64_t count, const Mix& mix) {
    const Seen* rows = memory_.mix_rows + first;
    Seen all{rows[count - 1].begin, rows[0].end};
    if (all.none()) all = {rows[0].begin, rows[0].begin};
    const auto alone = [&](int64_t q, const Seen& seen) {
      if (!seen.none()) mix(first + q, 1, seen);
    };
    for (int64_t q = 0; q < count; ++q) alone(q, {rows[q].begin, all.begin});
    if (!all.none()) mix(first, count, all);
    for (int64_t q = 0; q < count; ++q) alone(q, {std::max(rows[q].begin, all.end), rows[q].end});
  }

  const AttendBlock& block_;
  const Attend& step_;
  const AttendMemory& memory_;
  const AttendPartial& partial_;
  const Rotation* rotation_;
  const int64_t group_heads_;  // that mix the same columns
  const int64_t batch_heads_;  // that are scored before the first of them mixes
  const int64_t key_heads_;    // of a group, that score the same columns
  const bool transposed_;      // keys are, for scoring
  const bool turned_;          // keys get gain, bias or rotation before they are scored
  const bool rounded_;         // queries and weights are, to i16: heads score and mix all columns
  const bool tile_is_kept_;    // decoded once, to be scored and mixed
  // The tile at hand: its first row, how many it has, those that some query sees.
  int64_t row_ = 0;
  int64_t rows_ = 0;
  Seen seen_;
  bool may_skip_ = false;
  float largest_scale_ = 0.0F;  // of the tile's i16 rows that are not NaN
  int64_t mixing_ = 0;          // queries of the group at hand that mix it
  Prefetch prefetch_;
};

void attend(const AttendBlock& block, const RowRange& range, const AttendMemory& memory,
            const AttendPartial& partial) {
  BlockKernel(block, memory, partial).run(range);
}

}  // namespace

AttendOps make_attend_ops() { return {attend}; }

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
