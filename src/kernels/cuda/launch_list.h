// LaunchList: kernels of the card with their parameters, in the order in which they are to run; and
// LaunchGraph, a list that was made into a CUDA graph. A launch costs the host some microseconds,
// more than a small kernel takes; a graph costs that once.
//
// A list can run as a graph made of another one if both call the same kernels in the same order:
// whatever else differs, grids and parameters, is set in the graph before. So nothing has to stay
// in its place from one step to the next for a graph to be right, only for it to be cheap.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace slim {

struct Grid {
  dim3 blocks;
  dim3 threads;
  size_t shared_bytes = 0;
  unsigned cluster = 1;  // blocks of a cluster
};

// The bytes of one parameter.
struct Parameter {
  const void* data = nullptr;
  size_t bytes = 0;
};

// A grid as the driver takes it.
struct LaunchConfiguration {
  LaunchConfiguration(const Grid& grid, cudaStream_t stream);
  LaunchConfiguration(const LaunchConfiguration&) = delete;
  LaunchConfiguration& operator=(const LaunchConfiguration&) = delete;

  cudaLaunchConfig_t config{};
  cudaLaunchAttribute cluster{};
};

// `action`: what the card could not do, should it refuse.
void launch_kernel(const char* action, const void* kernel, const Grid& grid, void** parameters,
                   cudaStream_t stream);

class LaunchList {
 public:
  void add(const char* action, const void* kernel, const Grid& grid,
           std::span<const Parameter> parameters);
  void clear();
  size_t size() const { return launches_.size(); }

  bool calls_kernels_of(const LaunchList& other) const;
  // Whether launch `index` is the same to the last byte in a list that calls the same kernels.
  bool same(const LaunchList& other, size_t index) const;

  // Launches them one by one.
  void run(cudaStream_t stream) const;
  // As a graph takes them. `pointers` is what the result points to.
  cudaKernelNodeParams node(size_t index, std::vector<void*>& pointers) const;
  const Grid& grid(size_t index) const { return launches_[index].grid; }

 private:
  struct Launch {
    const char* action;
    const void* kernel;
    Grid grid;
    size_t first;  // of its parameters in places_
    size_t count;
    size_t begin, end;  // of their bytes in values_
  };
  void point_to(const Launch& launch, std::vector<void*>& pointers) const;

  std::vector<Launch> launches_;
  std::vector<size_t> places_;     // where parameters begin in values_
  std::vector<std::byte> values_;  // each at a multiple of 16
};

// Belongs to lists that call the kernels of its own.
class LaunchGraph {
 public:
  explicit LaunchGraph(const LaunchList& list) : list_(list) {}
  ~LaunchGraph();
  LaunchGraph(const LaunchGraph&) = delete;
  LaunchGraph& operator=(const LaunchGraph&) = delete;

  bool fits(const LaunchList& list) const { return list.calls_kernels_of(list_); }
  bool built() const { return executable_ != nullptr; }
  // Makes the graph, once. Throws Error{device} where the driver makes none.
  // overlapping: kernels begin before the one before them has ended (earlier_work.cuh).
  void build(const LaunchList& list, bool overlapping);
  // Runs a list that fits. Returns how many launches had to be set anew. What the graph did before
  // is left in `list`. After an Error it cannot run any more.
  size_t run(LaunchList& list, cudaStream_t stream);

 private:
  LaunchList list_;  // what the graph does, once it is built
  cudaGraph_t graph_ = nullptr;
  cudaGraphExec_t executable_ = nullptr;
  std::vector<cudaGraphNode_t> nodes_;
  std::vector<void*> pointers_;
};

}  // namespace slim
