// Graphs of the emulated card: lists of kernels with copies of their parameters. As the driver
// does, an executable graph has what its nodes were when it was made, or were set to since.
#include <cstring>
#include <memory>

#include "emulator/card_runtime.h"

namespace slim::emulated {

struct GraphNode {
  size_t index = 0;
  Graph* graph = nullptr;
};

struct NodeCall {
  const void* kernel = nullptr;
  dim3 grid, block;
  size_t shared_bytes = 0;
  std::vector<std::vector<std::byte>> values;
};

struct Graph {
  std::vector<std::unique_ptr<GraphNode>> nodes;
  std::vector<NodeCall> calls;
  size_t edges = 0;  // from a node to the next
};

struct ExecutableGraph {
  std::vector<NodeCall> calls;
};

namespace {

bool copy_call(const cudaKernelNodeParams& from, NodeCall& to) {
  const KnownKernel* const kernel = find_known(from.func);
  if (kernel == nullptr) return false;
  to = {from.func, from.gridDim, from.blockDim, from.sharedMemBytes, {}};
  for (size_t i = 0; i < kernel->sizes.size(); ++i) {
    const auto* bytes = static_cast<const std::byte*>(from.kernelParams[i]);
    to.values.emplace_back(bytes, bytes + kernel->sizes[i]);
  }
  return true;
}

}  // namespace

cudaError_t cudaGraphCreate(cudaGraph_t* graph, unsigned) {
  *graph = new Graph;
  return cudaSuccess;
}

// In a chain: each node after the one added before it, as an edge says here or one that is added.
cudaError_t cudaGraphAddKernelNode(cudaGraphNode_t* node, cudaGraph_t graph,
                                   const cudaGraphNode_t* before, size_t count,
                                   const cudaKernelNodeParams* parameters) {
  const bool chained = count == 1 && !graph->nodes.empty() && *before == graph->nodes.back().get();
  NodeCall call;
  if ((count > 0 && !chained) || !copy_call(*parameters, call)) return cudaErrorInvalidValue;
  if (chained) ++graph->edges;
  graph->nodes.push_back(std::make_unique<GraphNode>(GraphNode{graph->nodes.size(), graph}));
  graph->calls.push_back(std::move(call));
  *node = graph->nodes.back().get();
  return cudaSuccess;
}

cudaError_t cudaGraphAddDependencies(cudaGraph_t graph, const cudaGraphNode_t* from,
                                     const cudaGraphNode_t* to, const cudaGraphEdgeData*,
                                     size_t count) {
  if (count != 1 || (*to)->index != (*from)->index + 1) return cudaErrorInvalidValue;
  ++graph->edges;
  return cudaSuccess;
}

cudaError_t cudaGraphKernelNodeSetAttribute(cudaGraphNode_t, cudaLaunchAttributeID,
                                            const cudaLaunchAttributeValue*) {
  return cudaErrorInvalidValue;  // there are no clusters
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph,
                                 unsigned long long) {
  if (graph->edges + 1 != graph->nodes.size()) return cudaErrorInvalidValue;
  *executable = new ExecutableGraph{graph->calls};
  return cudaSuccess;
}

cudaError_t cudaGraphExecKernelNodeSetParams(cudaGraphExec_t executable, cudaGraphNode_t node,
                                             const cudaKernelNodeParams* parameters) {
  if (executable->calls[node->index].kernel != parameters->func) return cudaErrorInvalidValue;
  return copy_call(*parameters, executable->calls[node->index]) ? cudaSuccess
                                                                : cudaErrorInvalidValue;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  for (NodeCall& call : executable->calls) {
    std::vector<void*> parameters;
    for (std::vector<std::byte>& value : call.values) parameters.push_back(value.data());
    const cudaLaunchConfig_t config{call.grid, call.block, call.shared_bytes, stream, nullptr, 0};
    const cudaError_t status = cudaLaunchKernelExC(&config, call.kernel, parameters.data());
    if (status != cudaSuccess) return status;
  }
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}

}  // namespace slim::emulated
