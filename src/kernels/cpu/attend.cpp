// The plan of attention over paged rows: cuts a step into blocks of queries and, where blocks alone
// are too few to occupy the threads, blocks into parts of their rows (as flash-decoding does).
//
// A block is some tokens of one slice, with all their heads or, where heads mix columns of their
// own and tokens are many, those of some key heads: as many as keep the unnormalised mixtures
// within 256 KB, half of a 512 KB second-level cache. Blocks of one key head follow one another, so
// that its columns of a whole prompt stay in that cache.
//
// Parts are 192 rows (3 pages; 8 parts make an encoder's 1500 rows) or, of sealed rows, which cost
// more to read, one page; a sixteenth of the rows where that is more. They are computed from an
// empty state and joined from the first to the last whether one thread does them all or several do:
// the split depends on the slice alone (its rows, tokens, position and window) and the format, so
// results are the same to the bit for any number of threads and any company in the batch. Joining
// costs 2 operations a part and mixture value, against 2 * 64 for its rows.
#include "kernels/cpu/attend.h"

#include <algorithm>
#include <cstddef>

#include "base/check.h"
#include "kernels/cpu/attend_ops.h"
#include "kernels/cpu/rounding.h"

namespace slim {
namespace {

constexpr int64_t kMixedFloats = 65536;  // of one block: 256 KB
constexpr int64_t kMaxTokens = 32;       // of one block with all heads
constexpr int64_t kHeadTokens = 128;     // of one block with some heads: its weights are 32 KB
constexpr int64_t kPartRows = 3 * kPageRows;
constexpr int64_t kSealedPartRows = kPageRows;
constexpr int64_t kMaxParts = 16;
constexpr int64_t kWholeTokens = 32;  // from here on a slice has blocks enough without parts

// Cuts floats into pieces that start on cache lines; without memory it only counts.
class Carver {
 public:
  explicit Carver(float* memory) : memory_(memory) {}

  template <typename T>
  T* take(int64_t count) {
    T* piece = memory_ ? reinterpret_cast<T*>(memory_ + taken_) : nullptr;
    taken_ += ceil_div(count * static_cast<int64_t>(sizeof(T)), 64) * 16;
    return piece;
  }
  int64_t taken() const { return taken_; }

 private:
  float* memory_;
  int64_t taken_ = 0;
};

AttendPartial take_partial(Carver& carver, int64_t queries, int64_t width) {
  AttendPartial partial;
  partial.states = carver.take<SoftmaxState>(queries);
  partial.mixed = carver.take<float>(queries * width);
  return partial;
}

// What one worker needs: the kernel's memory, the part at hand and the parts joined so far.
struct WorkerMemory {
  WorkerMemory(const Attend& step, const Int16RowOps& integers, int64_t tokens, int64_t heads,
               Carver& carver) {
    const int64_t queries = tokens * heads;
    const int64_t grouped = tokens * (step.value_stride == 0 ? heads : step.heads_per_key);
    // Of blocks with fewer tokens a batch may be all heads.
    const int64_t batched = std::max(grouped, std::min(queries, kManyQueries * heads));
    kernel.weights = carver.take<float>(batched * kTileRows);
    kernel.queries = carver.take<const float*>(queries);
    kernel.query_weights = carver.take<float*>(queries);
    kernel.mix_weights = carver.take<const float*>(grouped);
    kernel.mixed = carver.take<float*>(grouped);
    kernel.mix_rows = carver.take<Seen>(grouped);
    if (integers.mix != nullptr) {
      kernel.rounded_queries = carver.take<int16_t>(queries * rounded_stride(step.key_width));
      kernel.rounded_rows = carver.take<const int16_t*>(queries);
      kernel.query_factors = carver.take<float>(queries);
      kernel.rounded_weights = carver.take<int16_t>(batched * kTileRows);
      kernel.rounded_mixing = carver.take<const int16_t*>(grouped);
      kernel.mix_factors = carver.take<float>(grouped);
      kernel.row_scales = carver.take<float>(kTileRows);
      kernel.row_shares = carver.take<float>(kTileRows);
      kernel.integers = integers;
    } else {
      const int64_t kept = keeps_tile(step) ? kTileRows * tile_stride(step.keys.format.width) : 0;
      kernel.tile = carver.take<float>(kept);
      kernel.keys = carver.take<float>(kStripRows * tile_stride(step.key_width));
      kernel.columns = carver.take<float>(step.key_width * kColumnStride);
      kernel.values = carver.take<float>(kTileRows * tile_stride(kMixColumns));
      kernel.turns = carver.take<float>(step.rotations.empty() ? 0 : kTileRows * step.key_width);
      kernel.turned = carver.take<float>(queries * step.key_width);
    }
    part = take_partial(carver, queries, step.value_width);
    joined = take_partial(carver, queries, step.value_width);
  }
  AttendMemory kernel;
  AttendPartial part;
  AttendPartial joined;
};

// How a slice's rows are cut: from its first row that any query sees, in parts of equal length.
struct Cut {
  Cut(const Attend& step, const Slice& slice) {
    const AttendBlock all{&step, &slice, 0, slice.count, 0, step.heads};
    begin = all.hidden(0) / kPageRows * kPageRows;
    const int64_t rows = std::max<int64_t>(0, slice.rows - begin);
    const int64_t most = slice.count >= kWholeTokens ? 1 : kMaxParts;
    const int64_t least = step.values.format.sealed() ? kSealedPartRows : kPartRows;
    length = std::max(least, ceil_div(rows, most * kPageRows) * kPageRows);
    parts = ceil_div(rows, length);
  }
  int64_t begin = 0;
  int64_t length = 0;
  int64_t parts = 0;
};

class AttendPlan {
 public:
  AttendPlan(const CpuContext& context, const Attend& step)
      : context_(context),
        step_(step),
        ops_(attend_ops(context.target)),
        integers_(rounds_to_int16(step) ? int16_row_ops(context.target) : Int16RowOps()),
        lease_(context.scratch) {
    int64_t longest = 0;
    for (const Slice& slice : step.slices) {
      longest = std::max(longest, slice.count);
      parts_ = std::max(parts_, Cut(step, slice).parts);
    }
    cut_blocks(longest);
    Carver counter(nullptr);
    WorkerMemory(step, integers_, block_tokens_, block_heads_, counter);
    worker_floats_ = counter.taken();
  }

  void run() {
    const int64_t blocks = static_cast<int64_t>(step_.slices.size()) * slice_blocks();
    if (blocks < int64_t{2} * context_.pool.threads() && parts_ > 1) {
      run_parts(blocks);
    } else {
      context_.pool.parallel_for(blocks, 1, [&](int64_t begin, int64_t end, int worker) {
        for (int64_t i = begin; i < end; ++i) run_block(block(i), memory_of(worker));
      });
    }
  }

 private:
  void cut_blocks(int64_t longest) {
    block_heads_ = step_.heads;
    block_tokens_ = std::clamp<int64_t>(kMixedFloats / (step_.heads * step_.value_width), 1,
                                        std::min(kMaxTokens, std::max<int64_t>(longest, 1)));
    if (step_.value_stride != 0 && longest > block_tokens_) {
      block_tokens_ = std::min(longest, kHeadTokens);
      const int64_t floats = block_tokens_ * step_.heads_per_key * step_.value_width;
      block_heads_ =
          std::clamp<int64_t>(kMixedFloats / floats, 1, step_.heads / step_.heads_per_key) *
          step_.heads_per_key;
    }
    token_blocks_ = ceil_div(longest, block_tokens_);
    head_blocks_ = ceil_div(step_.heads, block_heads_);
  }

  int64_t slice_blocks() const { return token_blocks_ * head_blocks_; }

  // Blocks are numbered as if all slices had as many as the longest; the surplus have no tokens.
  AttendBlock block(int64_t index) const {
    const Slice& slice = step_.slices[static_cast<size_t>(index / slice_blocks())];
    const int64_t first = index % token_blocks_ * block_tokens_;
    const int64_t head = index % slice_blocks() / token_blocks_ * block_heads_;
    return {&step_, &slice,
            first,  std::clamp<int64_t>(slice.count - first, 0, block_tokens_),
            head,   std::min(block_heads_, step_.heads - head)};
  }

  WorkerMemory memory_of(int worker) {
    Carver carver(lease_.of(worker).floats(worker_floats_));
    return WorkerMemory(step_, integers_, block_tokens_, block_heads_, carver);
  }

  // Rows of a part of a slice that some query of the block sees; none if empty.
  static RowRange range_of(const AttendBlock& block, const Cut& cut, int64_t part) {
    if (block.tokens == 0) return {};
    const int64_t last = block.visible(block.tokens - 1);
    const int64_t first = block.hidden(0) / kPageRows * kPageRows;
    const int64_t begin = cut.begin + part * cut.length;
    return {std::max(begin, first), std::min(begin + cut.length, last), last};
  }

  // The slice that the thread of this block takes next, where that reads it from its first row on.
  // (Another thread may take it: then the third-level cache has it.)
  const Slice* next_slice(const AttendBlock& block) const {
    const Slice* next = block.slice + 1;
    const bool last = block.first + block.tokens == block.slice->count;
    if (!last || next == step_.slices.data() + step_.slices.size()) return nullptr;
    return next->rows > 0 && next->count > 0 && step_.window == 0 ? next : nullptr;
  }

  // One thread does all parts of a block.
  void run_block(const AttendBlock& block, const WorkerMemory& memory) const {
    const Cut cut(step_, *block.slice);
    bool started = false;
    for (int64_t part = 0; part < cut.parts; ++part) {
      RowRange range = range_of(block, cut, part);
      if (range.begin >= range.end) continue;
      range.next = next_slice(block);
      const AttendPartial& partial = started ? memory.part : memory.joined;
      ops_.attend(block, range, memory.kernel, partial);
      for (int64_t q = 0; started && q < block.queries(); ++q) join(memory.joined, memory.part, q);
      started = true;
    }
    for (int64_t t = 0; t < block.tokens; ++t) {
      for (int64_t head = 0; head < block.heads; ++head) finish(block, t, head, memory.joined);
    }
  }

  // Every part of every block is a task; then every head of every block joins its parts.
  void run_parts(int64_t blocks) {
    Carver counter(nullptr);
    take_partial(counter, block_tokens_ * block_heads_, step_.value_width);
    const int64_t floats = counter.taken();
    float* memory = lease_.shared().floats(blocks * parts_ * floats);
    const auto partial_of = [&](int64_t index, int64_t part) {
      Carver carver(memory + (index * parts_ + part) * floats);
      return take_partial(carver, block_tokens_ * block_heads_, step_.value_width);
    };
    context_.pool.parallel_for(blocks * parts_, 1, [&](int64_t first, int64_t last, int worker) {
      for (int64_t i = first; i < last; ++i) {
        const AttendBlock at = block(i / parts_);
        RowRange range = range_of(at, Cut(step_, *at.slice), i % parts_);
        if (range.begin >= range.end) continue;
        range.ahead = range.end;
        ops_.attend(at, range, memory_of(worker).kernel, partial_of(i / parts_, i % parts_));
      }
    });
    context_.pool.parallel_for(blocks * block_heads_, 1, [&](int64_t first, int64_t last, int) {
      for (int64_t i = first; i < last; ++i) {
        const AttendBlock at = block(i / block_heads_);
        const int64_t head = i % block_heads_;
        if (head < at.heads) join_head(at, head, i / block_heads_, partial_of);
      }
    });
  }

  // The parts of one head of a block into the first that has rows, and that into the result.
  template <typename PartialOf>
  void join_head(const AttendBlock& at, int64_t head, int64_t index, const PartialOf& partial_of) {
    const Cut cut(step_, *at.slice);
    AttendPartial joined;
    for (int64_t part = 0; part < cut.parts; ++part) {
      const RowRange range = range_of(at, cut, part);
      if (range.begin >= range.end) continue;
      const AttendPartial partial = partial_of(index, part);
      if (joined.states == nullptr) {
        joined = partial;
        continue;
      }
      for (int64_t t = 0; t < at.tokens; ++t) join(joined, partial, at.index(t, head));
    }
    for (int64_t t = 0; t < at.tokens; ++t) finish(at, t, head, joined);
  }

  void join(const AttendPartial& into, const AttendPartial& other, int64_t query) const {
    const int64_t width = step_.value_width;
    merge_softmax(into.states[query], into.mixed + query * width, other.states[query],
                  other.mixed + query * width, width);
  }

  void finish(const AttendBlock& block, int64_t t, int64_t head,
              const AttendPartial& joined) const {
    const int64_t width = step_.value_width;
    const int64_t token = block.slice->first + block.first + t;
    const int64_t of_step = block.first_head + head;
    float* out = step_.mixed.row<float>(token) + of_step * width;
    float* lse = step_.lse.rows == 0 ? nullptr : step_.lse.row<float>(token) + of_step;
    const bool merges = step_.merge && *lse != SoftmaxState::kEmpty;
    if (!block.sees_any(t)) {
      if (merges) return;
      std::fill_n(out, width, 0.0F);
      if (lse != nullptr) *lse = SoftmaxState::kEmpty;
      return;
    }
    const int64_t query = block.index(t, head);
    SoftmaxState& state = joined.states[query];
    float* mixed = joined.mixed + query * width;
    // What other rows gave is a part like any other: its sum is 1, at its lse.
    if (merges) merge_softmax(state, mixed, {*lse, 1.0F}, out, width);
    normalise_softmax(state, mixed, width, out);
    if (lse != nullptr) *lse = state.logarithm();
  }

  const CpuContext& context_;
  const Attend& step_;
  const AttendOps ops_;
  const Int16RowOps integers_;  // where queries and weights are rounded to i16
  ScratchSets::Lease lease_;
  int64_t block_tokens_ = 0;  // of a block, at most
  int64_t block_heads_ = 0;   // of a block, at most
  int64_t token_blocks_ = 0;  // of a slice, at most
  int64_t head_blocks_ = 0;   // of a slice
  int64_t parts_ = 0;         // of a block, at most
  int64_t worker_floats_ = 0;
};

void check_columns(const Plane& plane, int64_t key_heads, int64_t width, int64_t stride) {
  check(plane.format.valid(), "a plane's format can hold its rows");
  check(width > 0 && stride >= 0 && (key_heads - 1) * stride + width <= plane.format.width,
        "a row holds the columns of every head");
}

void check_slice(const Attend& a, const Slice& slice) {
  check(slice.first >= 0 && slice.count >= 0 && slice.first + slice.count <= a.queries.rows,
        "a slice's tokens lie within the step");
  check(slice.rows >= 0, "a slice's rows are not negative");
  if (a.rotations.empty()) return;
  check(slice.regime >= 0 && slice.regime < std::ssize(a.rotations), "a slice's rotation exists");
  const Rotation& rotation = *a.rotations[static_cast<size_t>(slice.regime)];
  check(rotation.width() <= a.key_width, "rotated columns are among those of a key");
  check(slice.base % kPageRows == 0, "the first row stands at the start of a page");
  check(slice.base >= 0 && slice.base + slice.rows <= rotation.positions() + 1 &&
            slice.position >= 0 && slice.position + slice.count <= rotation.positions() + 1,
        "a rotation holds for the positions it has");
}

}  // namespace

void run_attend_pair(const CpuContext& context, const Attend& arguments) {
  const Attend& a = arguments;
  check(a.heads > 0 && a.heads_per_key > 0 && a.heads % a.heads_per_key == 0,
        "every key head serves as many heads");
  check(a.queries.columns == a.heads * a.key_width, "queries hold one key's width a head");
  check(a.mixed.rows == a.queries.rows && a.mixed.columns == a.heads * a.value_width,
        "mixed rows hold one value's width a head");
  check_columns(a.keys, a.heads / a.heads_per_key, a.key_width, a.key_stride);
  check_columns(a.values, a.heads / a.heads_per_key, a.value_width, a.value_stride);
  check(a.lse.rows == 0 || (a.lse.rows == a.queries.rows && a.lse.columns == a.heads),
        "there is an lse for every query and head");
  check(!a.merge || a.lse.rows > 0, "results are merged by their lse");
  for (const Slice& slice : a.slices) check_slice(a, slice);
  AttendPlan(context, a).run();
}

// One body serves both: it reads rows once where keys and values are the same plane.
void run_attend_shared(const CpuContext& context, const Attend& arguments) {
  check(same_rows(arguments), "shared attention has one plane");
  run_attend_pair(context, arguments);
}

}  // namespace slim
