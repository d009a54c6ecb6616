// Lists of launches, and graphs of them: chains, since each kernel of a step reads what the one
// before it wrote. Where a card can, its blocks come while those of the one before still run.
#include "kernels/cuda/launch_list.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "kernels/cuda/cuda_device.h"

namespace slim {
namespace {

constexpr size_t kAlignment = 16;  // of the most a parameter asks for

bool same_extent(const dim3& a, const dim3& b) { return a.x == b.x && a.y == b.y && a.z == b.z; }

}  // namespace

LaunchConfiguration::LaunchConfiguration(const Grid& grid, cudaStream_t stream) {
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim = {grid.cluster, 1, 1};
  config.gridDim = grid.blocks;
  config.blockDim = grid.threads;
  config.dynamicSmemBytes = grid.shared_bytes;
  config.stream = stream;
  config.attrs = &cluster;
  config.numAttrs = grid.cluster > 1 ? 1 : 0;
}

void launch_kernel(const char* action, const void* kernel, const Grid& grid, void** parameters,
                   cudaStream_t stream) {
  const LaunchConfiguration configuration(grid, stream);
  check_cuda(cudaLaunchKernelExC(&configuration.config, kernel, parameters), action);
}

void LaunchList::add(const char* action, const void* kernel, const Grid& grid,
                     std::span<const Parameter> parameters) {
  Launch launch{action, kernel, grid, places_.size(), parameters.size(), values_.size(), 0};
  for (const Parameter& parameter : parameters) {
    const size_t at = values_.size();
    places_.push_back(at);
    values_.resize((at + parameter.bytes + kAlignment - 1) / kAlignment * kAlignment);
    std::memcpy(values_.data() + at, parameter.data, parameter.bytes);
  }
  launch.end = values_.size();
  launches_.push_back(launch);
}

void LaunchList::clear() {
  launches_.clear();
  places_.clear();
  values_.clear();
}

bool LaunchList::calls_kernels_of(const LaunchList& other) const {
  return std::equal(launches_.begin(), launches_.end(), other.launches_.begin(),
                    other.launches_.end(), [](const Launch& a, const Launch& b) {
                      return a.kernel == b.kernel && a.grid.cluster == b.grid.cluster;
                    });
}

bool LaunchList::same(const LaunchList& other, size_t index) const {
  const Launch& a = launches_[index];
  const Launch& b = other.launches_[index];
  return same_extent(a.grid.blocks, b.grid.blocks) && same_extent(a.grid.threads, b.grid.threads) &&
         a.grid.shared_bytes == b.grid.shared_bytes &&
         std::equal(values_.begin() + static_cast<std::ptrdiff_t>(a.begin),
                    values_.begin() + static_cast<std::ptrdiff_t>(a.end),
                    other.values_.begin() + static_cast<std::ptrdiff_t>(b.begin),
                    other.values_.begin() + static_cast<std::ptrdiff_t>(b.end));
}

void LaunchList::point_to(const Launch& launch, std::vector<void*>& pointers) const {
  pointers.clear();
  for (size_t i = 0; i < launch.count; ++i) {
    pointers.push_back(const_cast<std::byte*>(values_.data()) + places_[launch.first + i]);
  }
}

void LaunchList::run(cudaStream_t stream) const {
  std::vector<void*> pointers;
  for (const Launch& launch : launches_) {
    point_to(launch, pointers);
    launch_kernel(launch.action, launch.kernel, launch.grid, pointers.data(), stream);
  }
}

cudaKernelNodeParams LaunchList::node(size_t index, std::vector<void*>& pointers) const {
  const Launch& launch = launches_[index];
  point_to(launch, pointers);
  cudaKernelNodeParams node{};
  node.func = const_cast<void*>(launch.kernel);
  node.gridDim = launch.grid.blocks;
  node.blockDim = launch.grid.threads;
  node.sharedMemBytes = static_cast<unsigned>(launch.grid.shared_bytes);
  node.kernelParams = pointers.data();
  return node;
}

LaunchGraph::~LaunchGraph() {
  if (executable_ != nullptr) cudaGraphExecDestroy(executable_);
  if (graph_ != nullptr) cudaGraphDestroy(graph_);
}

void LaunchGraph::build(const LaunchList& list, bool overlapping) {
  constexpr const char* kAction = "make a graph of a step";
  list_ = list;
  check_cuda(cudaGraphCreate(&graph_, 0), kAction);
  for (size_t i = 0; i < list_.size(); ++i) {
    const cudaKernelNodeParams parameters = list_.node(i, pointers_);
    const cudaGraphNode_t* const before = nodes_.empty() ? nullptr : &nodes_.back();
    const bool chained = before != nullptr && !overlapping;
    cudaGraphNode_t node = nullptr;
    check_cuda(cudaGraphAddKernelNode(&node, graph_, before, chained ? 1 : 0, &parameters),
               kAction);
    if (before != nullptr && overlapping) {
      cudaGraphEdgeData edge{};
      edge.from_port = cudaGraphKernelNodePortProgrammatic;
      edge.type = cudaGraphDependencyTypeProgrammatic;
      check_cuda(cudaGraphAddDependencies(graph_, before, &node, &edge, 1), kAction);
    }
    nodes_.push_back(node);
    if (list_.grid(i).cluster == 1) continue;
    cudaLaunchAttributeValue cluster{};
    cluster.clusterDim = {list_.grid(i).cluster, 1, 1};
    check_cuda(cudaGraphKernelNodeSetAttribute(node, cudaLaunchAttributeClusterDimension, &cluster),
               kAction);
  }
  check_cuda(cudaGraphInstantiate(&executable_, graph_, 0), kAction);
}

size_t LaunchGraph::run(LaunchList& list, cudaStream_t stream) {
  size_t set = 0;
  for (size_t i = 0; i < list.size(); ++i) {
    if (list.same(list_, i)) continue;
    const cudaKernelNodeParams parameters = list.node(i, pointers_);
    check_cuda(cudaGraphExecKernelNodeSetParams(executable_, nodes_[i], &parameters),
               "change the graph of a step");
    ++set;
  }
  check_cuda(cudaGraphLaunch(executable_, stream), "start the graph of a step");
  std::swap(list_, list);
  return set;
}

}  // namespace slim
