// The plan of attention over paged rows: cuts a step into blocks of queries and, where blocks alone
// are too few to occupy the threads, blocks into parts of their rows (as flash-decoding does).
//
// A block is some tokens of one slice with all their heads: as many as keep the unnormalised
// mixtures within 256 KB, half of a 512 KB second-level cache, and at most 32 (one token of 20
// heads x 1280 columns is 100 KB; a whole decode step of a small model is one block a sequence).
//
// Parts are 192 rows (3 pages; 8 parts make an encoder's 1500 rows), or a sixteenth of the rows
// where there are more than 3072. They are computed from an empty state and joined from the first
// to the last whether one thread does them all or several do: the split depends on the slice's rows
// alone, so results are the same to the bit for any number of threads and any company in the batch.
// Joining costs 2 operations a part and mixture value, against 2 * 192 for its rows.
#include "kernels/cpu/attend.h"

#include <algorithm>
#include <cstddef>

#include "base/check.h"
#include "kernels/cpu/attend_ops.h"
#include "kernels/cpu/rounding.h"

namespace slim {
namespace {

constexpr int64_t kMixedFloats = 65536;  // of one block: 256 KB
constexpr int64_t kMaxTokens = 32;       // of one block
constexpr int64_t kPartRows = 3 * kPageRows;
constexpr int64_t kMaxParts = 16;

int64_t part_rows(const Slice& slice) {
  return std::max(kPartRows, ceil_div(slice.rows, kMaxParts * kPageRows) * kPageRows);
}

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
  WorkerMemory(const Attend& step, int64_t queries, Carver& carver) {
    kernel.keys = carver.take<float>(kTileRows * tile_stride(step.keys.format.width));
    if (!same_rows(step)) {
      kernel.values = carver.take<float>(kTileRows * tile_stride(step.values.format.width));
    }
    kernel.weights = carver.take<float>(queries * kTileRows);
    kernel.queries = carver.take<const float*>(queries);
    kernel.query_weights = carver.take<float*>(queries);
    part = take_partial(carver, queries, step.value_width);
    joined = take_partial(carver, queries, step.value_width);
  }
  AttendMemory kernel;
  AttendPartial part;
  AttendPartial joined;
};

class AttendPlan {
 public:
  AttendPlan(const CpuContext& context, const Attend& step)
      : context_(context),
        step_(step),
        ops_(attend_ops(context.target)),
        lease_(context.scratch),
        block_tokens_(
            std::clamp<int64_t>(kMixedFloats / (step.heads * step.value_width), 1, kMaxTokens)) {
    int64_t longest = 0;
    for (const Slice& slice : step.slices) {
      longest = std::max(longest, slice.count);
      parts_ = std::max(parts_, ceil_div(slice.rows, part_rows(slice)));
    }
    blocks_ = ceil_div(longest, block_tokens_);
    queries_ = std::min(longest, block_tokens_) * step.heads;
    Carver counter(nullptr);
    WorkerMemory(step, queries_, counter);
    worker_floats_ = counter.taken();
  }

  void run() {
    const int64_t blocks = static_cast<int64_t>(step_.slices.size()) * blocks_;
    if (blocks < int64_t{2} * context_.pool.threads() && parts_ > 1) {
      run_parts(blocks);
    } else {
      context_.pool.parallel_for(blocks, 1, [&](int64_t begin, int64_t end, int worker) {
        for (int64_t i = begin; i < end; ++i) run_block(block(i), memory_of(worker));
      });
    }
  }

 private:
  // Blocks are numbered as if all slices had as many as the longest; the surplus have no tokens.
  AttendBlock block(int64_t index) const {
    const Slice& slice = step_.slices[static_cast<size_t>(index / blocks_)];
    const int64_t first = index % blocks_ * block_tokens_;
    return {&step_, &slice, first, std::clamp<int64_t>(slice.count - first, 0, block_tokens_)};
  }

  WorkerMemory memory_of(int worker) {
    Carver carver(lease_.of(worker).floats(worker_floats_));
    return WorkerMemory(step_, queries_, carver);
  }

  // Rows that any query of the block sees.
  static int64_t rows_of(const AttendBlock& block) {
    return block.tokens == 0 ? 0 : block.visible(block.tokens - 1);
  }

  // One thread does all parts of a block.
  void run_block(const AttendBlock& block, const WorkerMemory& memory) const {
    const int64_t rows = rows_of(block);
    const int64_t length = part_rows(*block.slice);
    for (int64_t begin = 0; begin < rows; begin += length) {
      const RowRange range{begin, std::min(begin + length, rows), rows};
      const AttendPartial& partial = begin == 0 ? memory.joined : memory.part;
      ops_.attend(block, range, memory.kernel, partial);
      if (begin == 0) continue;
      for (int64_t q = 0; q < block.queries(); ++q) join(memory.joined, memory.part, q);
    }
    for (int64_t t = 0; t < block.tokens; ++t) {
      for (int64_t head = 0; head < step_.heads; ++head) finish(block, t, head, memory.joined);
    }
  }

  // Every part of every block is a task; then every head of every block joins its parts.
  void run_parts(int64_t blocks) {
    Carver counter(nullptr);
    take_partial(counter, queries_, step_.value_width);
    const int64_t floats = counter.taken();
    float* memory = lease_.shared().floats(blocks * parts_ * floats);
    const auto partial_of = [&](int64_t index, int64_t part) {
      Carver carver(memory + (index * parts_ + part) * floats);
      return take_partial(carver, queries_, step_.value_width);
    };
    context_.pool.parallel_for(blocks * parts_, 1, [&](int64_t first, int64_t last, int worker) {
      for (int64_t i = first; i < last; ++i) {
        const AttendBlock at = block(i / parts_);
        const int64_t length = part_rows(*at.slice);
        const int64_t begin = i % parts_ * length;
        const int64_t end = std::min(begin + length, rows_of(at));
        if (begin >= end) continue;
        ops_.attend(at, {begin, end, end}, memory_of(worker).kernel,
                    partial_of(i / parts_, i % parts_));
      }
    });
    context_.pool.parallel_for(blocks * step_.heads, 1, [&](int64_t first, int64_t last, int) {
      for (int64_t i = first; i < last; ++i) {
        const AttendBlock at = block(i / step_.heads);
        const int64_t head = i % step_.heads;
        const int64_t parts = ceil_div(rows_of(at), part_rows(*at.slice));
        const AttendPartial joined = partial_of(i / step_.heads, 0);
        for (int64_t t = 0; t < at.tokens; ++t) {
          for (int64_t part = 1; part < parts; ++part) {
            join(joined, partial_of(i / step_.heads, part), at.index(t, head));
          }
          finish(at, t, head, joined);
        }
      }
    });
  }

  void join(const AttendPartial& into, const AttendPartial& other, int64_t query) const {
    const int64_t width = step_.value_width;
    merge_softmax(into.states[query], into.mixed + query * width, other.states[query],
                  other.mixed + query * width, width);
  }

  void finish(const AttendBlock& block, int64_t t, int64_t head,
              const AttendPartial& joined) const {
    const int64_t width = step_.value_width;
    float* out = step_.mixed.row<float>(block.slice->first + block.first + t) + head * width;
    if (block.visible(t) == 0) {
      std::fill_n(out, width, 0.0F);
      return;
    }
    const int64_t query = block.index(t, head);
    normalise_softmax(joined.states[query], joined.mixed + query * width, width, out);
  }

  const CpuContext& context_;
  const Attend& step_;
  const AttendOps ops_;
  ScratchSets::Lease lease_;
  const int64_t block_tokens_;
  int64_t blocks_ = 0;   // of a slice, at most
  int64_t parts_ = 0;    // of a block, at most
  int64_t queries_ = 0;  // of a block, at most
  int64_t worker_floats_ = 0;
};

void check_columns(const Plane& plane, int64_t key_heads, int64_t width, int64_t stride) {
  check(plane.format.valid(), "a plane's format can hold its rows");
  check(width > 0 && stride >= 0 && (key_heads - 1) * stride + width <= plane.format.width,
        "a row holds the columns of every head");
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
  for (const Slice& slice : a.slices) {
    check(slice.first >= 0 && slice.count >= 0 && slice.first + slice.count <= a.queries.rows,
          "a slice's tokens lie within the step");
    check(slice.rows >= 0, "a slice's rows are not negative");
  }
  AttendPlan(context, a).run();
}

// One body serves both: it reads rows once where keys and values are the same plane.
void run_attend_shared(const CpuContext& context, const Attend& arguments) {
  check(same_rows(arguments), "shared attention has one plane");
  run_attend_pair(context, arguments);
}

}  // namespace slim
