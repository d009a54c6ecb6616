// Attention over two planes: how a call is cut (attend_parts.cuh), the turning of its queries
// beforehand where they are many, and the joining of parts at last, with what the call merges. Rows
// of one part, a hot page for one, need no joining.
#include <algorithm>
#include <vector>

#include "kernels/attend_check.h"
#include "kernels/cuda/attend_parts.cuh"
#include "kernels/cuda/attend_prompt.h"
#include "kernels/cuda/earlier_work.cuh"
#include "kernels/cuda/reductions.cuh"
#include "kernels/cuda/turned_queries.cuh"

namespace slim {
namespace {

constexpr int kThreads = 128;
// Scores and mixtures of parts in scratch: 256 MiB, then another round.
constexpr int64_t kScratchFloats = int64_t{1} << 26;
// From here on a block for 64 queries is faster than blocks for 8.
constexpr int64_t kFromMany = 24;
constexpr int64_t kFewQueries = 8;
// Blocks that join parts: more than this give a card nothing.
constexpr int64_t kJoinBlocks = 2048;

struct Turning {
  float* turned;  // [tokens, heads * key_width]
};

// A block turns one head of one query to its position.
__global__ void __launch_bounds__(kThreads)
    turn_queries(const __grid_constant__ AttendView view, const AttendItem* tokens,
                 Turning turning) {
  wait_for_earlier();
  const AttendItem item = tokens[blockIdx.x];
  const DeviceSlice slice = view.slices[view.chunks[item.chunk].slice];
  const CudaRotation rotation = view.rotations[slice.regime];
  const int64_t token = slice.first + item.token;
  const int64_t column = static_cast<int64_t>(blockIdx.y) * view.key_width;
  const float* from = view.queries + token * view.query_stride + column;
  float* to = turning.turned + token * view.heads * view.key_width + column;
  for (int c = static_cast<int>(threadIdx.x); c < view.key_width; c += kThreads) {
    to[c] = turned_element(rotation, slice.position + item.token, from, c);
  }
}

// The parts that one query sees.
struct SeenParts {
  const AttendState* states;
  const float* mixtures;
  int count = 0;

  __device__ SeenParts(const AttendView& view, const AttendItem& item, int head) {
    const AttendChunk chunk = view.chunks[item.chunk];
    const longlong2 rows = view.visible(view.slices[chunk.slice], item.token);
    const int64_t part_rows = chunk.part_pages * kPageRows;
    int64_t at = chunk.mixtures +
                 (static_cast<int64_t>(item.token - chunk.token) * view.heads + head) * chunk.parts;
    if (rows.x < rows.y) {
      const int64_t first = rows.x / part_rows;
      count = static_cast<int>((rows.y + part_rows - 1) / part_rows - first);
      at += first - chunk.first_part;
    }
    states = view.states + at;
    mixtures = view.mixtures + at * view.value_width;
  }
};

// A block joins the parts of one head of one query, columns by strips (grid: queries, heads,
// strips).
__global__ void __launch_bounds__(kThreads)
    join_parts(const __grid_constant__ AttendView view, const AttendItem* tokens) {
  wait_for_earlier();
  static_assert(kMostParts <= kThreads);
  __shared__ float shares[kMostParts];
  const AttendItem item = tokens[blockIdx.x];
  const int head = static_cast<int>(blockIdx.y);
  const int thread = static_cast<int>(threadIdx.x);
  const SeenParts parts(view, item, head);
  // Every warp looks at all parts, a lane at one.
  AttendState whole = AttendState::empty();
  for (int p = thread % kWarp; p < parts.count; p += kWarp) {
    whole.maximum = fmaxf(whole.maximum, parts.states[p].maximum);
  }
  whole.maximum = reduce_warp(whole.maximum, Largest());
  for (int p = thread % kWarp; p < parts.count; p += kWarp) {
    const float share = parts.states[p].share(whole.origin());
    whole.sum += parts.states[p].sum * share;
    if (thread < kWarp) shares[p] = share;
  }
  whole.sum = reduce_warp(whole.sum, Sum());
  __syncthreads();
  const int64_t row = view.slices[view.chunks[item.chunk].slice].first + item.token;
  float* lse = view.lse == nullptr ? nullptr : view.lse + row * view.lse_stride + head;
  Merging merging(parts.count > 0 ? whole.logarithm() : -CUDART_INF_F);
  if (view.merge) merging.with(*lse);
  float* to = view.mixed + row * view.mixed_stride + static_cast<int64_t>(head) * view.value_width;
  const int step = static_cast<int>(gridDim.z) * kThreads;
  for (int c = static_cast<int>(blockIdx.z) * kThreads + thread; c < view.value_width; c += step) {
    float sum = 0.0F;
#pragma unroll 8
    for (int p = 0; p < parts.count; ++p) {
      sum = fmaf(parts.mixtures[static_cast<int64_t>(p) * view.value_width + c], shares[p], sum);
    }
    const float value = parts.count > 0 ? sum / whole.sum : 0.0F;
    const float old = merging.merged ? merging.before * to[c] : 0.0F;
    to[c] = old + merging.now * value;
  }
  if (lse == nullptr || (view.merge && !view.keep_lse)) return;
  __syncthreads();  // all have read what was merged
  if (thread == 0 && blockIdx.z == 0) *lse = merging.lse;
}

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

HeadTiles tiles_for(int64_t group, int64_t most) {
  const int64_t heads = std::min(group, most);
  return {static_cast<int32_t>(group), static_cast<int32_t>(heads),
          static_cast<int32_t>(std::max<int64_t>(1, most / heads))};
}

// The smallest body for so many queries.
int few_body(int64_t queries) { return queries <= 1 ? 1 : queries <= 4 ? 4 : 8; }

// Parts depend on their slice alone. Where queries are few, parts are what occupies the card: 64 of
// them, times the heads. Where they are many, mixtures of parts would cost more to store than they
// gain.
int64_t part_pages(const DeviceSlice& slice) {
  const int64_t pages = ceil_div(slice.rows, kPageRows);
  if (slice.count >= kChunkTokens) return std::max<int64_t>(8, ceil_div(pages, kMostParts / 4));
  return std::max<int64_t>(2, ceil_div(pages, kMostParts));
}

// One step of a call: the shapes of tiles, and the lists for slices of few queries and of many.
class StepPlan {
 public:
  explicit StepPlan(int64_t group) : group_(group), many_tiles_(tiles_for(group, kManyQueries)) {}

  void expect(const DeviceSlice& slice) {
    if (many(slice)) return;
    few_ = std::max(few_, few_body(std::min(kFewQueries, slice.count * group_)));
    few_tiles_ = tiles_for(group_, few_);
  }
  void add(const DeviceSlice& slice, const AttendChunk& chunk, int32_t number) {
    const HeadTiles& tiles = many(slice) ? many_tiles_ : few_tiles_;
    std::vector<AttendItem>& items = many(slice) ? many_items_ : few_items_;
    for (int32_t done = 0; done < chunk.tokens; done += tiles.tokens) {
      const int32_t tokens = std::min(tiles.tokens, chunk.tokens - done);
      for (int32_t part = 0; part < chunk.parts; ++part) {
        items.push_back({number, chunk.token + done, tokens, chunk.first_part + part});
      }
    }
  }
  void pack(Parcel& parcel) {
    few_at_ = parcel.add(few_items_);
    many_at_ = parcel.add(many_items_);
  }
  void clear() {
    few_items_.clear();
    many_items_.clear();
  }
  int few() const { return few_; }
  AttendList few_list(const Parcel& parcel) const {
    return {parcel.at<AttendItem>(few_at_), std::ssize(few_items_), few_tiles_};
  }
  AttendList many_list(const Parcel& parcel) const {
    return {parcel.at<AttendItem>(many_at_), std::ssize(many_items_), many_tiles_};
  }

 private:
  bool many(const DeviceSlice& slice) const { return slice.count * group_ >= kFromMany; }

  int64_t group_;
  HeadTiles many_tiles_;
  HeadTiles few_tiles_;
  int few_ = 1;
  std::vector<AttendItem> few_items_, many_items_;
  size_t few_at_ = 0, many_at_ = 0;
};

int64_t group_of(const Attend& call, int64_t stride) {
  return stride == 0 ? call.heads : call.heads_per_key;
}

// What the first columns of heads, and their numbers of columns, are multiples of.
int64_t columns_of(int64_t width, int64_t stride) { return width % 8 == 0 ? stride : width; }

AttendView view_of(const Attend& call, bool aligned) {
  AttendView view{};
  view.queries = call.queries.row<float>(0);
  view.query_stride = call.queries.stride;
  view.keys = plane_view(call.keys, columns_of(call.key_width, call.key_stride), aligned);
  view.values = plane_view(call.values, columns_of(call.value_width, call.value_stride), aligned);
  view.key_gain = call.key_gain;
  view.key_bias = call.key_bias;
  view.slopes = call.slopes;
  view.bias = call.bias;
  view.factors = call.key_factors == nullptr ? -1 : call.key_factors->offset;
  view.heads = static_cast<int32_t>(call.heads);
  view.heads_per_key = static_cast<int32_t>(call.heads_per_key);
  view.key_width = static_cast<int32_t>(call.key_width);
  view.value_width = static_cast<int32_t>(call.value_width);
  view.key_stride = call.key_stride;
  view.value_stride = call.value_stride;
  view.scale = call.scale;
  view.cap = call.cap;
  view.window = call.window;
  view.causal = call.causal;
  view.merge = call.merge;
  view.keep_lse = call.keep_lse;
  view.mixed = call.mixed.row<float>(0);
  view.mixed_stride = call.mixed.stride;
  view.lse = call.lse.rows == 0 ? nullptr : call.lse.row<float>(0);
  view.lse_stride = call.lse.stride;
  return view;
}

bool reads_octets(const AttendView& view, const std::vector<CudaRotation>& rotations) {
  if (!view.keys.octets || view.key_gain != nullptr || view.key_bias != nullptr) return false;
  return std::all_of(rotations.begin(), rotations.end(), [](const CudaRotation& rotation) {
    return rotation.pairs == 0 || (!rotation.interleaved && rotation.pairs % 8 == 0);
  });
}

// A call: gathers chunks until scratch memory is used up, then runs them.
class PairAttention {
 public:
  PairAttention(CudaDevice& device, const Attend& call, std::vector<CudaRotation> rotations)
      : device_(device),
        call_(call),
        rotations_(std::move(rotations)),
        tables_(call.slices),
        view_(view_of(call, tables_.aligned)),
        scoring_(group_of(call, call.key_stride)),
        mixing_(group_of(call, call.value_stride)) {
    view_.key_octets = reads_octets(view_, rotations_);
  }

  void run() {
    for (const DeviceSlice& slice : tables_.slices) {
      scoring_.expect(slice);
      mixing_.expect(slice);
    }
    for (size_t i = 0; i < tables_.slices.size(); ++i) add_slice(static_cast<int32_t>(i));
    flush();
  }

 private:
  void add_slice(int32_t number) {
    const DeviceSlice& slice = tables_.slices[static_cast<size_t>(number)];
    for (int64_t token = 0; token < slice.count;) {
      int64_t tokens = std::min<int64_t>(kChunkTokens, slice.count - token);
      AttendChunk chunk = chunk_of(slice, token, tokens);
      // Fewer, if the whole scratch memory does not hold that many.
      tokens = std::clamp<int64_t>(kScratchFloats / token_floats(chunk), 1, tokens);
      chunk = chunk_of(slice, token, tokens);
      chunk.slice = number;
      if (!chunks_.empty() && floats_ + tokens * token_floats(chunk) > kScratchFloats) flush();
      add_chunk(slice, chunk);
      token += tokens;
    }
  }

  AttendChunk chunk_of(const DeviceSlice& slice, int64_t token, int64_t tokens) const {
    AttendChunk chunk;
    chunk.token = static_cast<int32_t>(token);
    chunk.tokens = static_cast<int32_t>(tokens);
    chunk.part_pages = static_cast<int32_t>(part_pages(slice));
    const int64_t begin = view_.visible(slice, token).x;
    const int64_t end = view_.visible(slice, token + tokens - 1).y;
    if (begin >= end) return chunk;  // nobody sees a row
    chunk.page_begin = static_cast<int32_t>(begin / kPageRows);
    chunk.page_end = static_cast<int32_t>(ceil_div(end, kPageRows));
    chunk.first_part = chunk.page_begin / chunk.part_pages;
    chunk.parts =
        static_cast<int32_t>(ceil_div(chunk.page_end, chunk.part_pages)) - chunk.first_part;
    return chunk;
  }

  // Of scratch, for each token. A state is two.
  int64_t token_floats(const AttendChunk& chunk) const {
    return call_.heads * ((chunk.page_end - chunk.page_begin) * kPageRows +
                          chunk.parts * (call_.value_width + 2)) +
           1;
  }

  void add_chunk(const DeviceSlice& slice, AttendChunk chunk) {
    chunk.scores = scores_;
    chunk.mixtures = states_;
    floats_ += chunk.tokens * token_floats(chunk);
    scores_ += chunk.tokens * call_.heads * (chunk.page_end - chunk.page_begin) * kPageRows;
    states_ += chunk.tokens * call_.heads * chunk.parts;
    const auto number = static_cast<int32_t>(chunks_.size());
    chunks_.push_back(chunk);
    scoring_.add(slice, chunk, number);
    mixing_.add(slice, chunk, number);
    for (int32_t i = 0; i < chunk.tokens; ++i) tokens_.push_back({number, chunk.token + i, 1, 0});
  }

  void flush() {
    if (chunks_.empty()) return;
    Parcel parcel;
    const size_t slices = parcel.add(tables_.slices);
    const size_t pages = parcel.add(tables_.pages);
    const size_t rotations = parcel.add(rotations_);
    const size_t chunks = parcel.add(chunks_);
    const size_t tokens = parcel.add(tokens_);
    scoring_.pack(parcel);
    mixing_.pack(parcel);
    parcel.send(device_);
    const auto scratch = device_.allocate(
        static_cast<size_t>(scores_ + states_ * (call_.value_width + 2)) * sizeof(float));
    AttendView view = view_;
    view.slices = parcel.at<DeviceSlice>(slices);
    view.pages = parcel.at<const std::byte*>(pages);
    view.chunks = parcel.at<AttendChunk>(chunks);
    view.rotations = rotations_.empty() ? nullptr : parcel.at<CudaRotation>(rotations);
    view.scores = reinterpret_cast<float*>(scratch->data());
    view.states = reinterpret_cast<AttendState*>(view.scores + scores_);
    view.mixtures = view.scores + scores_ + 2 * states_;
    launch(view, parcel, parcel.at<AttendItem>(tokens));
    chunks_.clear();
    tokens_.clear();
    scoring_.clear();
    mixing_.clear();
    floats_ = scores_ = states_ = 0;
  }

  void launch(AttendView view, const Parcel& parcel, const AttendItem* tokens) {
    const dim3 grid(static_cast<unsigned>(tokens_.size()), static_cast<unsigned>(call_.heads));
    std::shared_ptr<Buffer> turned;
    view.turns = !rotations_.empty();
    if (view.turns && scoring_.many_list(parcel).count > 0) {
      const int64_t numbers = call_.queries.rows * call_.queries.columns;
      turned = device_.allocate(static_cast<size_t>(numbers) * sizeof(float));
      auto* to = reinterpret_cast<float*>(turned->data());
      device_.launch("turn queries", turn_queries, {grid, kThreads}, view, tokens, Turning{to});
      view.queries = to;
      view.query_stride = call_.queries.columns;
      view.turns = false;
    }
    view.whole = !view.merge && std::all_of(chunks_.begin(), chunks_.end(),
                                            [](const auto& chunk) { return chunk.parts == 1; });
    view.wide_queries = reinterpret_cast<uintptr_t>(view.queries) % 16 == 0 &&
                        view.query_stride % 4 == 0 && view.key_width % 8 == 0;
    const RowFormat& keys = call_.keys.format;
    const RowFormat& values = call_.values.format;
    launch_few_scores(view, keys, scoring_.few_list(parcel), scoring_.few(), device_);
    launch_many_scores(view, keys, scoring_.many_list(parcel), device_);
    launch_few_mixtures(view, values, mixing_.few_list(parcel), mixing_.few(), device_);
    launch_many_mixtures(view, values, mixing_.many_list(parcel), device_);
    if (view.whole) return;
    // In strips where there are few blocks, unless one would write what another one reads.
    dim3 strips = grid;
    if (!view.merge || !view.keep_lse) {
      const int64_t most = std::max<int64_t>(1, kJoinBlocks / (grid.x * grid.y));
      strips.z = static_cast<unsigned>(std::min(most, ceil_div(view.value_width, kThreads)));
    }
    device_.launch("join parts of rows", join_parts, {strips, kThreads}, view, tokens);
  }

  CudaDevice& device_;
  const Attend& call_;
  std::vector<CudaRotation> rotations_;
  SliceTables tables_;
  AttendView view_;
  StepPlan scoring_, mixing_;
  // What the next round will do.
  std::vector<AttendChunk> chunks_;
  std::vector<AttendItem> tokens_;
  int64_t floats_ = 0, scores_ = 0, states_ = 0;
};

void check_call(const Attend& a) {
  check_attend(a);
  check(a.key_factors == nullptr || a.key_factors->format == RowFormat{DType::f32, 1},
        "factors of keys are single floats");
}

}  // namespace

void CudaKernels::attend_pair(const Attend& arguments) {
  check_call(arguments);
  device_.select();
  std::vector<CudaRotation> rotations;
  for (const Rotation* turn : arguments.rotations) {
    rotations.push_back(turn == nullptr ? CudaRotation{} : rotation(*turn));
  }
  const bool suited =
      suits_prompts(view_of(arguments, true), arguments.keys.format, arguments.values.format);
  const bool some = suited && std::any_of(arguments.slices.begin(), arguments.slices.end(),
                                          [](const Slice& one) { return is_prompt(one.count); });
  if (!some) return PairAttention(device_, arguments, std::move(rotations)).run();
  std::vector<Slice> prompts;
  std::vector<Slice> others;
  for (const Slice& slice : arguments.slices) {
    (is_prompt(slice.count) ? prompts : others).push_back(slice);
  }
  PromptCall call{
      {}, arguments.keys.format, arguments.values.format, SliceTables(prompts), rotations};
  if (arguments.inputs == Inputs::f16) call.parts = 1;
  call.view = view_of(arguments, call.tables.aligned);
  call.view.key_octets = reads_octets(call.view, rotations);
  attend_prompts(device_, std::move(call));
  if (others.empty()) return;
  Attend rest = arguments;
  rest.slices = others;
  PairAttention(device_, rest, std::move(rotations)).run();
}

}  // namespace slim
