// A card with the figures of an H100, in the host's memory. New memory holds NaNs.
#include "emulator/card_runtime.h"

#include <cstdlib>
#include <cstring>
#include <map>
#include <utility>

namespace slim::emulated {
namespace {

constexpr int kSharedBytes = 227 * 1024;  // that a block may ask for
constexpr size_t kAlignment = 256;

cudaError_t last_error = cudaSuccess;

std::map<const void*, int>& granted() {
  static std::map<const void*, int> bytes;
  return bytes;
}

std::map<const void*, KnownKernel>& known() {
  static std::map<const void*, KnownKernel> kernels;
  return kernels;
}

}  // namespace

void make_known(const void* kernel, KnownKernel as) { known().try_emplace(kernel, std::move(as)); }

const KnownKernel* find_known(const void* kernel) {
  const auto found = known().find(kernel);
  return found == known().end() ? nullptr : &found->second;
}

cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* config, const void* kernel,
                                void** parameters) {
  const KnownKernel* const found = find_known(kernel);
  if (found == nullptr || config->numAttrs > 0) return last_error = cudaErrorInvalidValue;
  found->run(config->gridDim, config->blockDim, config->dynamicSmemBytes, parameters);
  return std::exchange(last_error, cudaSuccess);
}

void set_last_error(cudaError_t status) { last_error = status; }

cudaError_t grant_shared(const void* kernel, int bytes) {
  if (bytes > kSharedBytes) return last_error = cudaErrorInvalidValue;
  granted()[kernel] = bytes;
  return cudaSuccess;
}

size_t granted_shared(const void* kernel) {
  const auto found = granted().find(kernel);
  return found == granted().end() ? 0 : static_cast<size_t>(found->second);
}

cudaError_t cudaGetLastError() { return std::exchange(last_error, cudaSuccess); }

const char* cudaGetErrorString(cudaError_t status) {
  switch (status) {
    case cudaSuccess:
      return "no error";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInvalidConfiguration:
      return "invalid configuration argument";
    case cudaErrorInvalidValue:
      return "invalid argument";
  }
  return "";
}

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int number) {
  return number == 0 ? cudaSuccess : last_error = cudaErrorInvalidValue;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr which, int /*number*/) {
  switch (which) {
    case cudaDevAttrMultiProcessorCount:
      *value = 132;
      break;
    case cudaDevAttrComputeCapabilityMajor:
      *value = 9;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = 0;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = kSharedBytes;
      break;
  }
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  *free = *total = size_t{4} << 30;
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** data, size_t bytes) {
  *data = std::aligned_alloc(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment);
  if (*data == nullptr) return last_error = cudaErrorMemoryAllocation;
  std::memset(*data, 0xFF, bytes);
  return cudaSuccess;
}

cudaError_t cudaFree(void* data) {
  std::free(data);
  return cudaSuccess;
}

cudaError_t cudaMallocHost(void** data, size_t bytes) { return cudaMalloc(data, bytes); }

cudaError_t cudaFreeHost(void* data) { return cudaFree(data); }

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind,
                            cudaStream_t) {
  std::memmove(to, from, bytes);
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t) {
  std::memset(to, value, bytes);
  return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void*) {
  attributes->type = cudaMemoryTypeHost;
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = nullptr;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
cudaError_t cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }
// An event that is there, as null stands for one not made yet.
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  static std::byte one;
  *event = reinterpret_cast<cudaEvent_t>(&one);
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t) { return cudaSuccess; }
cudaError_t cudaEventSynchronize(cudaEvent_t) { return cudaSuccess; }
cudaError_t cudaEventDestroy(cudaEvent_t) { return cudaSuccess; }

}  // namespace slim::emulated
