// Attention of prompts: which rows are taken apart together, and which blocks attend to what.
// Scratch memory holds the tiles of so many pages; if there are more, those that follow are merged
// into the result over the first.
#include "kernels/cuda/attend_prompt.h"

#include <algorithm>

#include "kernels/cuda/earlier_work.cuh"
#include "kernels/cuda/prompt_tiles.cuh"

namespace slim {
namespace {

constexpr int64_t kFewestTokens = 16;  // a warp's
constexpr int64_t kMostScratch = int64_t{512} << 20;

template <int kColumns, int kParts>
__global__ void __launch_bounds__(kPromptThreads, 1)
    attend_prompt(const __grid_constant__ PromptView view, const PromptItem* items, int stages) {
  wait_for_earlier();
  extern __shared__ uint4 memory[];
  PromptBlock<kColumns, kParts> block(view, items[blockIdx.x], static_cast<int>(blockIdx.y),
                                      reinterpret_cast<uint16_t*>(memory));
  block.run(stages);
}

template <int kColumns, int kParts>
void launch_prompt(CudaDevice& device, const PromptView& view, const PromptItem* items,
                   int64_t count) {
  using Shape = PromptShape<kColumns, kParts>;
  const auto kernel = attend_prompt<kColumns, kParts>;
  const int stages = device.block_memory() >= Shape::bytes(2) ? 2 : 1;
  check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  Shape::bytes(stages)),
             "give a block shared memory");
  const dim3 blocks(static_cast<unsigned>(count), static_cast<unsigned>(view.call.heads));
  device.launch("attend to a prompt", kernel,
                {blocks, kPromptThreads, static_cast<size_t>(Shape::bytes(stages))}, view, items,
                stages);
}

template <int kParts>
void launch_parts(CudaDevice& device, const PromptView& view, const PromptItem* items,
                  int64_t count) {
  if (view.columns == 64) return launch_prompt<64, kParts>(device, view, items, count);
  if (view.columns == 96) return launch_prompt<96, kParts>(device, view, items, count);
  launch_prompt<128, kParts>(device, view, items, count);
}

int columns_of(int width, bool slabs) {
  return width <= 64 ? 64 : width <= 96 && !slabs ? 96 : 128;
}

// Whose tiles scratch memory holds, of two parts.
int64_t most_pages(const AttendView& view) {
  const int64_t tile_bytes = int64_t{2} * 2 * 2 * kPageRows * columns_of(view.key_width, true);
  return std::max<int64_t>(1, kMostScratch / (tile_bytes * (view.heads / view.heads_per_key)));
}

class PromptAttention {
 public:
  PromptAttention(CudaDevice& device, PromptCall call)
      : device_(device),
        call_(std::move(call)),
        key_heads_(call_.view.heads / call_.view.heads_per_key),
        slabs_(has_prompt_groups(device)),
        columns_(columns_of(call_.view.key_width, slabs_)),
        most_pages_(most_pages(call_.view)) {}

  void run() {
    const auto& slices = call_.tables.slices;
    for (size_t i = 0; i < slices.size();) {
      size_t end = i + 1;
      size_t longest = i;
      for (; end < slices.size() && share_rows(slices[longest], slices[end]); ++end) {
        if (slices[end].rows > slices[longest].rows) longest = end;
      }
      add_slices(i, end);
      i = end;
    }
    flush();
  }

 private:
  // The pages of either are the first ones of the other.
  bool share_rows(const DeviceSlice& a, const DeviceSlice& b) const {
    if (a.base != b.base || a.regime != b.regime) return false;
    const auto* const pages = call_.tables.pages.data();
    const int64_t rows = std::min(a.rows, b.rows);
    return rows > 0 &&
           std::equal(pages + a.pages, pages + a.pages + page_count(rows), pages + b.pages);
  }
  static int64_t page_count(int64_t rows) { return (rows + kPageRows - 1) / kPageRows; }

  // Pages that tokens [token, token + tokens) of a slice see.
  std::pair<int64_t, int64_t> pages_seen(const DeviceSlice& slice, int64_t token,
                                         int64_t tokens) const {
    const int64_t begin = call_.view.visible(slice, token).x;
    const int64_t end = call_.view.visible(slice, token + tokens - 1).y;
    if (begin >= end) return {0, 0};
    return {begin / kPageRows, page_count(end)};
  }

  // Slices [first, last), which read the same rows.
  void add_slices(size_t first, size_t last) {
    PromptRun whole;
    whole.page_begin = INT32_MAX;
    for (size_t i = first; i < last; ++i) {
      const DeviceSlice& slice = call_.tables.slices[i];
      if (slice.rows > whole.rows || i == first) {
        whole.pages = slice.pages;
        whole.rows = static_cast<int32_t>(slice.rows);
      }
      const auto [begin, end] = pages_seen(slice, 0, slice.count);
      if (begin == end) continue;
      whole.page_begin = std::min(whole.page_begin, static_cast<int32_t>(begin));
      whole.page_end = std::max(whole.page_end, static_cast<int32_t>(end));
    }
    whole.page_begin = std::min(whole.page_begin, whole.page_end);
    whole.base = call_.tables.slices[first].base;
    whole.regime = call_.tables.slices[first].regime;
    if (std::ssize(pages_) + whole.page_end - whole.page_begin > most_pages_) flush();
    PromptRun part = whole;
    do {
      if (std::ssize(pages_) >= most_pages_) flush();
      part.page_end =
          static_cast<int32_t>(std::min<int64_t>(whole.page_end, part.page_begin + most_pages_));
      add_run(part, first, last, part.page_begin == whole.page_begin);
      part.page_begin = part.page_end;
    } while (part.page_begin < whole.page_end);
  }

  void add_run(PromptRun run, size_t first, size_t last, bool begins) {
    run.place = static_cast<int32_t>(pages_.size());
    const auto number = static_cast<int32_t>(runs_.size());
    for (int32_t page = run.page_begin; page < run.page_end; ++page) {
      pages_.push_back({number, page});
    }
    runs_.push_back(run);
    for (size_t i = first; i < last; ++i) {
      const DeviceSlice& slice = call_.tables.slices[i];
      for (int64_t token = 0; token < slice.count; token += kPromptQueries) {
        const int64_t tokens = std::min<int64_t>(kPromptQueries, slice.count - token);
        PromptItem item{.slice = static_cast<int32_t>(i),
                        .token = static_cast<int32_t>(token),
                        .tokens = static_cast<int32_t>(tokens),
                        .run = number};
        auto [begin, end] = pages_seen(slice, token, tokens);
        if (i + 1 < last && slice.count + call_.tables.slices[i + 1].count <= kPromptQueries) {
          const DeviceSlice& next = call_.tables.slices[++i];
          item.next = static_cast<int32_t>(next.count);
          const auto [next_begin, next_end] = pages_seen(next, 0, next.count);
          if (begin == end) begin = next_begin;
          if (next_begin < next_end) begin = std::min(begin, next_begin);
          end = std::max(end, next_end);
        }
        item.page_begin = std::max(run.page_begin, static_cast<int32_t>(begin));
        item.page_end =
            std::max(item.page_begin, std::min(run.page_end, static_cast<int32_t>(end)));
        item.merge = call_.view.merge || !begins;
        // The first part of the rows writes what those have who see none of it.
        if (item.page_begin < item.page_end || !item.merge) items_.push_back(item);
      }
    }
  }

  void flush() {
    if (items_.empty()) return clear();
    // Long ones first, so that all end together.
    std::stable_sort(items_.begin(), items_.end(), [](const PromptItem& a, const PromptItem& b) {
      return a.page_end - a.page_begin > b.page_end - b.page_begin;
    });
    need_lse();
    Parcel parcel;
    const size_t slices = parcel.add(call_.tables.slices);
    const size_t addresses = parcel.add(call_.tables.pages);
    const size_t rotations = parcel.add(call_.rotations);
    const size_t runs = parcel.add(runs_);
    const size_t pages = parcel.add(pages_);
    const size_t items = parcel.add(items_);
    parcel.send(device_);
    PromptView view{};
    view.call = call_.view;
    view.call.slices = parcel.at<DeviceSlice>(slices);
    view.call.pages = parcel.at<const std::byte*>(addresses);
    view.call.rotations = call_.rotations.empty() ? nullptr : parcel.at<CudaRotation>(rotations);
    view.runs = parcel.at<PromptRun>(runs);
    view.pages = parcel.at<PromptPage>(pages);
    view.count = static_cast<int32_t>(pages_.size());
    view.key_heads = key_heads_;
    view.columns = columns_;
    view.parts = call_.parts;
    view.slabs = slabs_;
    const int64_t tiles = view.count * int64_t{key_heads_};
    const int64_t numbers = tiles * view.tile_numbers();
    const auto scratch =
        device_.allocate(static_cast<size_t>(2 * numbers * 2 + 4 * tiles * 4 + 16));
    view.keys = reinterpret_cast<uint16_t*>(scratch->data());
    view.values = view.keys + numbers;
    view.key_units = reinterpret_cast<float*>(view.values + numbers);
    view.value_tops = view.key_units + tiles;
    view.odd_keys = reinterpret_cast<uint32_t*>(view.value_tops + tiles);
    view.odd = view.odd_keys + tiles;
    launch(view, parcel.at<PromptItem>(items));
    clear();
  }

  void launch(const PromptView& view, const PromptItem* items) {
    const int64_t count = std::ssize(items_);
    if (view.count > 0) take_rows_apart(device_, view, call_.keys, call_.values);
    if (slabs_) {
      attend_prompt_groups(device_, view, items, count);
    } else if (view.parts == 1) {
      launch_parts<1>(device_, view, items, count);
    } else {
      launch_parts<2>(device_, view, items, count);
    }
    if (view.count > 0) add_odd_values(device_, view, call_.values, items, count);
  }

  // Parts of rows are merged by the logarithms of their sums, wanted or not.
  void need_lse() {
    if (call_.view.lse != nullptr) return;
    int64_t tokens = 0;
    for (const DeviceSlice& slice : call_.tables.slices) {
      tokens = std::max(tokens, slice.first + slice.count);
    }
    lse_ = device_.allocate(static_cast<size_t>(tokens * call_.view.heads) * sizeof(float));
    call_.view.lse = reinterpret_cast<float*>(lse_->data());
    call_.view.lse_stride = call_.view.heads;
  }

  void clear() {
    runs_.clear();
    pages_.clear();
    items_.clear();
  }

  CudaDevice& device_;
  PromptCall call_;
  int32_t key_heads_;
  bool slabs_;
  int32_t columns_;
  int64_t most_pages_;
  std::shared_ptr<Buffer> lse_;
  // What the next round will do.
  std::vector<PromptRun> runs_;
  std::vector<PromptPage> pages_;
  std::vector<PromptItem> items_;
};

}  // namespace

bool suits_prompts(const AttendView& view, const RowFormat& keys, const RowFormat& values) {
  return !keys.sealed() && !values.sealed() && view.key_width <= 128 &&
         view.value_width == view.key_width && view.key_stride != 0 && view.value_stride != 0;
}

bool reads_queries_once(const AttendView& view, int64_t rows) {
  return rows <= most_pages(view) * kPageRows;
}

bool is_prompt(int64_t tokens) { return tokens >= kFewestTokens; }

void attend_prompts(CudaDevice& device, PromptCall call) {
  PromptAttention(device, std::move(call)).run();
}

}  // namespace slim
