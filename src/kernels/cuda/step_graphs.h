// A decoding step as one graph. Between gather()'s begin and end (CudaDevice) a thread's launches
// and uploads are not done but gathered; then the uploads travel in one copy, and the launches run
// as a graph that was made of a step which called the same kernels (launch_list.h).
//
// That holds as long as nobody else touches what is gathered before it runs:
// * uploads get addresses in one stretch of the card's memory, the arena. Every run of gathered
//   launches copies its own uploads there first, in the stream's order, so that several threads
//   share it. Equal bytes are there once: what all layers are told of the step's slices travels
//   once.
// * memory that is freed in the meantime is kept for the same gathering (MemoryPool): others could
//   write to it before the gathered launches have used it.
// * whoever needs the stream itself (Device::copy, the library of products) first runs what was
//   gathered.
#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "kernels/cuda/launch_list.h"
#include "kernels/cuda/memory_pool.h"
#include "tensor/device.h"

namespace slim {

// What one thread gathered.
class Gathering {
 public:
  // `arena`: of kBytes on the card.
  void begin(Device& device, std::byte* arena);
  // Forgets all of it.
  void end();
  bool begun() const { return device_ != nullptr; }
  bool on(const Device& device) const { return device_ == &device; }

  // Where the bytes will be when the launches run.
  const std::byte* upload(std::span<const std::byte> bytes);

  static constexpr size_t kBytes = size_t{1} << 20;  // page addresses of 8 million rows
  LaunchList launches;
  MemoryPool freed;

 private:
  friend class StepGraphs;
  // What did not fit into the arena.
  struct Large {
    std::vector<std::byte> bytes;
    std::shared_ptr<Buffer> card;
  };
  struct Place {
    size_t begin, bytes;
  };

  Device* device_ = nullptr;
  std::byte* arena_ = nullptr;
  std::vector<std::byte> bytes_;
  std::vector<Place> places_;
  std::vector<Large> large_;
};

// The arena and the graphs of a card. Thread-safe.
class StepGraphs {
 public:
  explicit StepGraphs(Device& device) : device_(device) {}
  ~StepGraphs();
  StepGraphs(const StepGraphs&) = delete;
  StepGraphs& operator=(const StepGraphs&) = delete;

  // Whether the card lets a kernel begin before the one before it has ended.
  void overlap_kernels(bool overlapping) { overlapping_ = overlapping; }
  std::byte* arena();
  // Runs what was gathered; its launches are gone afterwards, its uploads stay where they are.
  void run(Gathering& gathered, cudaStream_t stream);

  struct Counts {
    int64_t graphs = 0;    // made
    int64_t runs = 0;      // of graphs
    int64_t set_anew = 0;  // launches in these that were not as the graph had them
    int64_t plain = 0;     // launches without a graph
    int64_t uploaded = 0;  // bytes
  };
  Counts counts() const;

 private:
  struct Kept {
    explicit Kept(const LaunchList& list) : graph(list) {}
    LaunchGraph graph;  // built when its kernels are called for the second time
    int64_t used = 0;
  };
  struct Pinned {
    std::byte* data = nullptr;
    cudaEvent_t copied = nullptr;
  };
  // Lists of fewer launches gain nothing.
  static constexpr size_t kLeastLaunches = 8;
  // A model has a few: steps that seal a page or do not, of one, two, up to four, or more tokens.
  static constexpr size_t kMostKept = 32;
  static constexpr size_t kPinned = 4;

  void send(Gathering& gathered, cudaStream_t stream);
  Kept* find(const LaunchList& list) const;
  void keep(const LaunchList& list, cudaStream_t stream);
  // False if there is no graph to run it: then it has not run.
  bool run_graph(LaunchList& list, cudaStream_t stream);

  Device& device_;
  mutable std::mutex mutex_;
  std::shared_ptr<Buffer> arena_;
  std::array<Pinned, kPinned> pinned_{};
  size_t next_pinned_ = 0;
  std::vector<std::unique_ptr<Kept>> kept_;
  int64_t clock_ = 0;
  bool overlapping_ = false;
  bool graphs_ = true;  // false once the driver refused one
  Counts counts_;
};

}  // namespace slim
