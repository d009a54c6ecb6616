// Attention that scores and mixes the same rows. Sealed keys of common shapes go to the one-read
// kernel (decode_sealed.cuh): the pages of all sequences are laid end to end and cut into equal
// runs, one a cluster, so that no multiprocessor waits; what the runs of one query leave is merged.
// Rows that stand alone are tried by attend_rows(); all else goes to attend_pair.
#include <algorithm>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "kernels/cuda/decode_rows.h"
#include "kernels/cuda/decode_sealed.h"
#include "kernels/cuda/device_kernels.h"
#include "kernels/cuda/merge_segments.h"

namespace slim {
namespace {

using cuda::DecodeSegment;
using cuda::Merge;

// Fewer pages are not worth a cluster: its sums cost as much to write and merge as reading two.
constexpr int64_t kPagesPerCluster = 2;

bool turns_alike(const Attend& a) {
  for (const Rotation* rotation : a.rotations) {
    if (rotation->interleaved() || rotation->pairs() != a.rotations.front()->pairs() ||
        !cuda::turns_in_eights(static_cast<int>(a.key_width), rotation->pairs())) {
      return false;
    }
  }
  return a.rotations.size() <= 2;
}

cuda::DecodeLaunch launch_of(const Attend& a) {
  const bool turned = !a.rotations.empty();
  return {.bits = a.keys.format.bits,
          .head_width = static_cast<int>(a.key_width),
          .heads = static_cast<int>(a.heads),
          .partial = turned && a.rotations.front()->width() < a.key_width};
}

bool is_one_read(const Attend& a, int architecture) {
  const RowFormat& format = a.keys.format;
  const int64_t spill = format.width - a.heads * a.key_width;
  const bool whole = std::all_of(a.slices.begin(), a.slices.end(), [](const Slice& slice) {
    return slice.rows % kPageRows == 0 && slice.base % kPageRows == 0;
  });
  // Its code is for sm_90 alone.
  return architecture == 90 && format.sealed() && format.chunked &&
         format.scaling == Scaling::channel && a.values.format == format &&
         a.values.offset == a.keys.offset && !a.causal && a.heads_per_key == 1 &&
         a.key_stride == a.key_width && a.value_stride == 0 && a.value_width == format.width &&
         spill >= 0 && spill <= cuda::kMostSpill && cuda::has_decode(launch_of(a)) &&
         a.bias.values == nullptr && turns_alike(a) && whole;
}

// What a call brings to the card, in one array.
class Work {
 public:
  Work(const Attend& attend, int64_t clusters);

  int64_t clusters() const { return std::ssize(cluster_segments_) - 1; }
  int64_t slots() const { return std::ssize(segments_); }
  int64_t tokens() const { return std::ssize(tokens_); }

  // The arrays, once uploaded.
  struct OnCard {
    const DecodeSegment* segments;
    const int32_t* cluster_segments;
    const int32_t* tokens;      // [tokens]: rows of the step
    const int32_t* first_slot;  // [tokens + 1]
  };
  OnCard upload(CudaDevice& device);

 private:
  void cut(int64_t clusters);

  struct Query {
    int32_t token, position, regime, turn;
    int64_t first_address;  // in addresses_
    int64_t pages;
  };
  std::vector<Query> queries_;
  std::vector<const std::byte*> addresses_;
  std::vector<DecodeSegment> segments_;  // pages: indices of addresses_ until they are uploaded
  std::vector<int64_t> segment_addresses_;
  std::vector<int32_t> cluster_segments_;
  std::vector<int32_t> tokens_;
  std::vector<int32_t> first_slot_;
};

Work::Work(const Attend& attend, int64_t clusters) {
  int64_t pages = 0;
  for (const Slice& slice : attend.slices) {
    const auto first = std::ssize(addresses_);
    const int64_t count = slice.rows / kPageRows;
    addresses_.insert(addresses_.end(), slice.pages, slice.pages + count);
    for (int64_t i = 0; i < slice.count; ++i) {
      queries_.push_back({static_cast<int32_t>(slice.first + i),
                          static_cast<int32_t>(slice.position + i), slice.regime,
                          static_cast<int32_t>(slice.base / kPageRows), first, count});
      pages += count;
    }
  }
  cut(std::clamp<int64_t>(pages / kPagesPerCluster, 1, clusters));
}

void Work::cut(int64_t clusters) {
  int64_t pages = 0;
  for (const Query& query : queries_) pages += query.pages;
  int64_t cluster = 0;
  int64_t done = 0;
  cluster_segments_.push_back(0);
  for (const Query& query : queries_) {
    tokens_.push_back(query.token);
    first_slot_.push_back(static_cast<int32_t>(segments_.size()));
    for (int64_t page = 0; page < query.pages;) {
      const int64_t end = pages * (cluster + 1) / clusters;  // of this cluster's run
      const int64_t count = std::min(query.pages - page, end - done);
      if (count > 0) {
        segments_.push_back({nullptr, static_cast<int32_t>(count),
                             static_cast<int32_t>(query.turn + page), query.token, query.position,
                             query.regime, static_cast<int32_t>(segments_.size())});
        segment_addresses_.push_back(query.first_address + page);
      }
      page += count;
      done += count;
      if (done == end && cluster + 1 < clusters) {
        cluster_segments_.push_back(static_cast<int32_t>(segments_.size()));
        ++cluster;
      }
    }
  }
  first_slot_.push_back(static_cast<int32_t>(segments_.size()));
  cluster_segments_.resize(static_cast<size_t>(clusters + 1),
                           static_cast<int32_t>(segments_.size()));
}

Work::OnCard Work::upload(CudaDevice& device) {
  const std::byte* const* addresses = device.upload(std::span<const std::byte* const>(addresses_));
  for (size_t i = 0; i < segments_.size(); ++i) {
    segments_[i].pages = addresses + segment_addresses_[i];
  }
  std::vector<int32_t> numbers = cluster_segments_;
  numbers.insert(numbers.end(), tokens_.begin(), tokens_.end());
  numbers.insert(numbers.end(), first_slot_.begin(), first_slot_.end());
  const int32_t* const on_card = device.upload(std::span<const int32_t>(numbers));
  return {device.upload(std::span<const DecodeSegment>(segments_)), on_card,
          on_card + cluster_segments_.size(), on_card + cluster_segments_.size() + tokens_.size()};
}

}  // namespace

void CudaKernels::attend_shared(const Attend& arguments) {
  const Attend& a = arguments;
  if (!is_one_read(a, device_.architecture())) {
    if (!cuda::attend_rows(device_, a)) attend_pair(a);
    return;
  }
  device_.select();
  cuda::DecodeLaunch launch = launch_of(a);
  const int64_t spill = a.keys.format.width - a.heads * a.key_width;
  Work work(a, resident_clusters(launch, static_cast<int>(spill)));
  if (work.tokens() == 0) return;
  const Work::OnCard on_card = work.upload(device_);
  const int64_t width = a.keys.format.width;
  const auto sums = device_.allocate(static_cast<size_t>(work.slots() * a.heads * width * 4 + 16));
  const auto states = device_.allocate(static_cast<size_t>(work.slots() * a.heads * 8 + 16));
  cuda::DecodeArguments decode;
  decode.queries = a.queries.row<float>(0);
  decode.query_stride = a.queries.stride;
  decode.segments = on_card.segments;
  decode.cluster_segments = on_card.cluster_segments;
  decode.sums = reinterpret_cast<float*>(sums->data());
  decode.states = reinterpret_cast<float2*>(states->data());
  decode.plane = a.keys.offset;
  if (a.key_factors != nullptr) decode.factors = a.key_factors->offset;
  decode.width = static_cast<int32_t>(width);
  decode.spill = static_cast<int32_t>(spill);
  decode.scale = a.scale;
  decode.key_gain = a.key_gain;
  decode.key_bias = a.key_bias;
  decode.slopes = a.slopes;
  decode.cap = a.cap;
  decode.window = static_cast<int32_t>(a.window);
  for (size_t i = 0; i < a.rotations.size(); ++i) decode.rotations[i] = rotation(*a.rotations[i]);
  launch.clusters = static_cast<int>(work.clusters());
  if (work.slots() > 0) decode_sealed(device_, launch, decode);
  const Merge merge{decode.sums,
                    decode.states,
                    on_card.tokens,
                    on_card.first_slot,
                    static_cast<int>(a.heads),
                    static_cast<int>(width),
                    a.mixed.row<float>(0),
                    a.mixed.stride,
                    a.lse.rows == 0 ? nullptr : a.lse.row<float>(0),
                    a.lse.stride,
                    a.merge,
                    a.keep_lse};
  merge_segments(device_, merge, work.tokens());
}

}  // namespace slim
