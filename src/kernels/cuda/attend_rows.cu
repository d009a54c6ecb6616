// attend_shared() over rows that stand alone: what the one-read kernel takes, and one call of it.
#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "kernels/attend_check.h"
#include "kernels/cuda/decode_rows.h"
#include "kernels/cuda/merge_segments.h"
#include "kernels/cuda/slices.cuh"

namespace slim::cuda {
namespace {

// Each query reads rows by itself; of many, products of matrices are better (attend_pair).
constexpr int64_t kMostQueries = 8;  // of a slice

bool are_aligned(const Attend& a) {
  return reinterpret_cast<uintptr_t>(a.queries.data) % 16 == 0 && a.queries.stride % 4 == 0 &&
         a.keys.offset % 16 == 0;
}

bool reads_rows(const Attend& a, int architecture) {
  const RowFormat& format = a.keys.format;
  const bool few = std::all_of(a.slices.begin(), a.slices.end(),
                               [](const Slice& slice) { return slice.count <= kMostQueries; });
  const bool whole = a.key_width == format.width && a.key_stride == 0 &&
                     a.value_width == format.width && a.value_stride == 0 &&
                     a.values.format == format && a.values.offset == a.keys.offset;
  const bool plain = a.rotations.empty() && a.key_gain == nullptr && a.key_bias == nullptr &&
                     a.key_factors == nullptr && a.slopes == nullptr && a.bias.values == nullptr &&
                     a.cap == 0.0F && a.window == 0;
  // Its code is for sm_90 alone.
  return architecture == 90 && !format.sealed() && whole && plain && few && are_aligned(a) &&
         has_rows(format.type, format.width, a.heads);
}

// What a call's slices come to, whichever plane of their pages it reads.
struct RowPlan {
  std::vector<int64_t> key;
  RowWork work;
  RowPlaces places;
};

std::vector<int64_t> key_of(const Attend& a, bool at_once, int64_t clusters) {
  std::vector<int64_t> key = {a.causal ? 1 : 0, at_once ? 1 : 0, clusters};
  for (const Slice& slice : a.slices) {
    const int64_t pages = (slice.rows + kPageRows - 1) / kPageRows;
    key.insert(key.end(), {slice.first, slice.count, slice.position, slice.rows, slice.base});
    for (int64_t i = 0; i < pages; ++i) key.push_back(reinterpret_cast<intptr_t>(slice.pages[i]));
  }
  return key;
}

// The layers of a step have the same slices, and come one after another from one thread: the last
// plan is kept (64 sequences of 24 pages take longer to cut than to compare).
const RowPlan& plan_of(const Attend& a, int64_t clusters) {
  thread_local RowPlan kept;
  const bool at_once = !a.merge && a.lse.rows == 0;
  std::vector<int64_t> key = key_of(a, at_once, clusters);
  if (kept.key != key) {
    RowWork work = cut_rows(a.slices, a.causal, at_once, clusters);
    RowPlaces places(work.pages);
    kept = {std::move(key), std::move(work), std::move(places)};
  }
  return kept;
}

}  // namespace

bool attend_rows(CudaDevice& device, const Attend& arguments) {
  const Attend& a = arguments;
  if (!reads_rows(a, device.architecture())) return false;
  check_attend(a);
  device.select();
  const int64_t width = a.keys.format.width;
  RowLaunch launch{a.keys.format.type, width, 0};
  const RowPlan& plan = plan_of(a, resident_row_clusters(launch));
  const RowWork& work = plan.work;
  const RowPlaces& places = plan.places;
  launch.clusters = work.clusters();
  if (!places.fit()) return false;
  Parcel parcel;
  const size_t segments = parcel.add(work.segments);
  const size_t cluster_segments = parcel.add(work.cluster_segments);
  const size_t on_places = parcel.add(places.numbers);
  const size_t merged = parcel.add(work.merged);
  const size_t first_slot = parcel.add(work.first_slot);
  parcel.send(device);
  const auto sums = device.allocate(static_cast<size_t>(work.slots() * a.heads * width * 4 + 16));
  const auto states = device.allocate(static_cast<size_t>(work.slots() * a.heads * 8 + 16));
  RowArguments rows;
  rows.queries = a.queries.row<float>(0);
  rows.query_stride = a.queries.stride;
  rows.segments = parcel.at<RowSegment>(segments);
  rows.cluster_segments = parcel.at<int32_t>(cluster_segments);
  rows.places = parcel.at<int32_t>(on_places);
  rows.sums = reinterpret_cast<float*>(sums->data());
  rows.states = reinterpret_cast<float2*>(states->data());
  rows.mixed = a.mixed.row<float>(0);
  rows.mixed_stride = a.mixed.stride;
  rows.scale = a.scale;
  if (launch.clusters > 0) decode_rows(device, launch, places, a.keys.offset, rows);
  const Merge merge{rows.sums,
                    rows.states,
                    parcel.at<int32_t>(merged),
                    parcel.at<int32_t>(first_slot),
                    static_cast<int>(a.heads),
                    static_cast<int>(width),
                    rows.mixed,
                    rows.mixed_stride,
                    a.lse.rows == 0 ? nullptr : a.lse.row<float>(0),
                    a.lse.stride,
                    a.merge,
                    a.keep_lse};
  merge_segments(device, merge, std::ssize(work.merged));
  return true;
}

}  // namespace slim::cuda
