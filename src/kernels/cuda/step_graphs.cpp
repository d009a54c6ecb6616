// What is gathered, and its running.
#include "kernels/cuda/step_graphs.h"

#include <algorithm>
#include <cstring>

#include "kernels/cuda/cuda_device.h"
#include "slim/error.h"

namespace slim {

void Gathering::begin(Device& device, std::byte* arena) {
  device_ = &device;
  arena_ = arena;
}

void Gathering::end() {
  device_ = nullptr;
  launches.clear();
  bytes_.clear();
  places_.clear();
  large_.clear();
}

const std::byte* Gathering::upload(std::span<const std::byte> bytes) {
  for (const Place& place : places_) {
    const bool same = place.bytes == bytes.size() &&
                      std::equal(bytes.begin(), bytes.end(),
                                 bytes_.begin() + static_cast<std::ptrdiff_t>(place.begin));
    if (same) return arena_ + place.begin;
  }
  const size_t begin = bytes_.size();
  const size_t end = (begin + bytes.size() + 15) / 16 * 16;
  if (end > kBytes) {
    large_.push_back({{bytes.begin(), bytes.end()}, device_->allocate(bytes.size())});
    return large_.back().card->data();
  }
  bytes_.resize(end);
  std::copy(bytes.begin(), bytes.end(), bytes_.begin() + static_cast<std::ptrdiff_t>(begin));
  places_.push_back({begin, bytes.size()});
  return arena_ + begin;
}

StepGraphs::~StepGraphs() {
  for (const Pinned& pinned : pinned_) {
    if (pinned.data != nullptr) cudaFreeHost(pinned.data);
    if (pinned.copied != nullptr) cudaEventDestroy(pinned.copied);
  }
}

std::byte* StepGraphs::arena() {
  const std::lock_guard lock(mutex_);
  if (arena_ == nullptr) arena_ = device_.allocate(Gathering::kBytes);
  return arena_->data();
}

StepGraphs::Counts StepGraphs::counts() const {
  const std::lock_guard lock(mutex_);
  return counts_;
}

void StepGraphs::run(Gathering& gathered, cudaStream_t stream) {
  LaunchList& list = gathered.launches;
  if (list.size() == 0) return;
  const std::lock_guard lock(mutex_);
  send(gathered, stream);
  if (list.size() < kLeastLaunches || !run_graph(list, stream)) {
    list.run(stream);
    counts_.plain += static_cast<int64_t>(list.size());
  }
  list.clear();
}

// Through pinned memory, so that the host need not wait.
void StepGraphs::send(Gathering& gathered, cudaStream_t stream) {
  for (Gathering::Large& large : gathered.large_) {
    if (large.bytes.empty()) continue;
    check_cuda(cudaMemcpyAsync(large.card->data(), large.bytes.data(), large.bytes.size(),
                               cudaMemcpyHostToDevice, stream),
               "copy");
    check_cuda(cudaStreamSynchronize(stream), "finish its work");
    large.bytes.clear();
  }
  if (gathered.bytes_.empty()) return;
  Pinned& pinned = pinned_[next_pinned_];
  next_pinned_ = (next_pinned_ + 1) % kPinned;
  if (pinned.data == nullptr) {
    void* memory = nullptr;
    check_cuda(cudaMallocHost(&memory, Gathering::kBytes), "give pinned memory");
    pinned.data = static_cast<std::byte*>(memory);
    check_cuda(cudaEventCreateWithFlags(&pinned.copied, cudaEventDisableTiming), "make an event");
  } else {
    check_cuda(cudaEventSynchronize(pinned.copied), "finish a copy");
  }
  const size_t bytes = gathered.bytes_.size();
  std::memcpy(pinned.data, gathered.bytes_.data(), bytes);
  check_cuda(cudaMemcpyAsync(arena_->data(), pinned.data, bytes, cudaMemcpyHostToDevice, stream),
             "copy");
  check_cuda(cudaEventRecord(pinned.copied, stream), "record an event");
  counts_.uploaded += static_cast<int64_t>(bytes);
}

StepGraphs::Kept* StepGraphs::find(const LaunchList& list) const {
  for (const auto& kept : kept_) {
    if (kept->graph.fits(list)) return kept.get();
  }
  return nullptr;
}

// In place of the one that was not used for the longest time.
void StepGraphs::keep(const LaunchList& list, cudaStream_t stream) {
  if (kept_.size() == kMostKept) {
    check_cuda(cudaStreamSynchronize(stream), "finish its work");
    kept_.erase(std::min_element(kept_.begin(), kept_.end(),
                                 [](const auto& a, const auto& b) { return a->used < b->used; }));
  }
  kept_.push_back(std::make_unique<Kept>(list));
  kept_.back()->used = ++clock_;
}

bool StepGraphs::run_graph(LaunchList& list, cudaStream_t stream) {
  if (!graphs_) return false;
  Kept* const kept = find(list);
  if (kept == nullptr) {
    keep(list, stream);
    return false;
  }
  kept->used = ++clock_;
  try {
    if (!kept->graph.built()) {
      kept->graph.build(list, overlapping_);
      ++counts_.graphs;
    }
    counts_.set_anew += static_cast<int64_t>(kept->graph.run(list, stream));
    ++counts_.runs;
    return true;
  } catch (const Error&) {
    // A driver without graphs of this sort. If the card itself is at fault, launches say so too.
    graphs_ = false;
    kept_.clear();
    return false;
  }
}

}  // namespace slim
