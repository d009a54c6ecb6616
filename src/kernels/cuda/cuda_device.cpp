// The pool, the copies and the uploads of small arrays.
#include "kernels/cuda/cuda_device.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <memory>

#include "slim/error.h"

namespace slim {
namespace {

// Sizes are rounded up to this share of their power of two, so that nearly equal ones meet in the
// pool: 1/8 wastes at most an eighth.
size_t pool_size(size_t bytes) {
  size_t step = 512;
  while (step * 16 <= bytes) step *= 2;
  return std::max<size_t>(1, (bytes + step - 1) / step) * step;
}

}  // namespace

void check_cuda(cudaError_t status, const char* action) {
  if (status == cudaSuccess) return;
  // Errors of one call are not left for the next to find.
  cudaGetLastError();
  const bool memory = status == cudaErrorMemoryAllocation;
  throw Error(memory ? ErrorCode::out_of_memory : ErrorCode::device,
              std::string("The card could not ") + action + ": " + cudaGetErrorString(status) + ".",
              "cuda");
}

CudaDevice& cuda_device(int number) {
  // Never destroyed: threads hold scratch memory of it to their very end.
  static std::mutex* const mutex = new std::mutex;
  static auto* const devices = new std::map<int, std::unique_ptr<CudaDevice>>;
  const std::lock_guard lock(*mutex);
  std::unique_ptr<CudaDevice>& device = (*devices)[number];
  if (device == nullptr) device = std::make_unique<CudaDevice>(number);
  return *device;
}

CudaDevice::CudaDevice(int number)
    : number_(number), name_("cuda:" + std::to_string(number)), staging_(kUploads) {
  select();
  check_cuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "make a stream");
  const auto attribute = [&](cudaDeviceAttr which) {
    int value = 0;
    check_cuda(cudaDeviceGetAttribute(&value, which, number_), "say what it is");
    return value;
  };
  multiprocessors_ = attribute(cudaDevAttrMultiProcessorCount);
  architecture_ = 10 * attribute(cudaDevAttrComputeCapabilityMajor) +
                  attribute(cudaDevAttrComputeCapabilityMinor);
}

CudaDevice::~CudaDevice() {
  cudaSetDevice(number_);
  cudaStreamSynchronize(stream_);
  for (const Staging& staging : staging_) {
    if (staging.pinned != nullptr) cudaFreeHost(staging.pinned);
    if (staging.card != nullptr) cudaFree(staging.card);
    if (staging.copied != nullptr) cudaEventDestroy(staging.copied);
  }
  empty_pool();
  cudaStreamDestroy(stream_);
}

void CudaDevice::select() const { check_cuda(cudaSetDevice(number_), "be selected"); }

std::byte* CudaDevice::acquire(size_t bytes) {
  const std::lock_guard lock(mutex_);
  const size_t size = pool_size(bytes);
  // Anything less than a quarter too large will do.
  const auto found = free_.lower_bound(size);
  if (found != free_.end() && found->first <= size + size / 4) {
    std::byte* const data = found->second;
    sizes_[data] = found->first;
    free_.erase(found);
    return data;
  }
  if (cudaSetDevice(number_) != cudaSuccess) return nullptr;
  void* data = nullptr;
  cudaError_t status = cudaMalloc(&data, size);
  if (status == cudaErrorMemoryAllocation && !free_.empty()) {
    cudaGetLastError();
    empty_pool();
    status = cudaMalloc(&data, size);
  }
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    return nullptr;
  }
  check_cuda(status, "give memory");
  sizes_[static_cast<std::byte*>(data)] = size;
  return static_cast<std::byte*>(data);
}

// What the freed memory was used for may still be running; whoever gets it next runs after that.
void CudaDevice::release(std::byte* data, size_t /*bytes*/) noexcept {
  const std::lock_guard lock(mutex_);
  const auto size = sizes_.extract(data).mapped();
  free_.emplace(size, data);
}

void CudaDevice::empty_pool() noexcept {
  // cudaFree waits for the card.
  for (const auto& [size, data] : free_) cudaFree(data);
  free_.clear();
}

void CudaDevice::copy(void* to, const void* from, size_t bytes) {
  if (bytes == 0) return;
  select();
  check_cuda(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream_), "copy");
  // The caller may read or change memory of the host at once.
  cudaPointerAttributes source{};
  cudaPointerAttributes target{};
  check_cuda(cudaPointerGetAttributes(&source, from), "say where memory is");
  check_cuda(cudaPointerGetAttributes(&target, to), "say where memory is");
  if (source.type != cudaMemoryTypeDevice || target.type != cudaMemoryTypeDevice) {
    check_cuda(cudaStreamSynchronize(stream_), "finish its work");
  }
}

void CudaDevice::clear(void* to, size_t bytes) {
  if (bytes == 0) return;
  select();
  check_cuda(cudaMemsetAsync(to, 0, bytes, stream_), "clear memory");
}

const void* CudaDevice::upload_bytes(const void* from, size_t bytes) {
  select();
  const std::lock_guard lock(mutex_);
  Staging& staging = staging_[next_staging_];
  next_staging_ = (next_staging_ + 1) % kUploads;
  if (staging.copied == nullptr) {
    check_cuda(cudaEventCreateWithFlags(&staging.copied, cudaEventDisableTiming), "make an event");
  } else {
    check_cuda(cudaEventSynchronize(staging.copied), "finish a copy");
  }
  if (staging.bytes < bytes) {
    // cudaFree waits for all that still reads the old mirror.
    check_cuda(cudaFreeHost(staging.pinned), "free pinned memory");
    staging.pinned = nullptr;
    check_cuda(cudaFree(staging.card), "free memory");
    staging.card = nullptr;
    staging.bytes = 0;
    const size_t size = pool_size(bytes);
    void* memory = nullptr;
    check_cuda(cudaMallocHost(&memory, size), "give pinned memory");
    staging.pinned = static_cast<std::byte*>(memory);
    check_cuda(cudaMalloc(&memory, size), "give memory");
    staging.card = static_cast<std::byte*>(memory);
    staging.bytes = size;
  }
  std::memcpy(staging.pinned, from, bytes);
  check_cuda(cudaMemcpyAsync(staging.card, staging.pinned, bytes, cudaMemcpyHostToDevice, stream_),
             "copy");
  check_cuda(cudaEventRecord(staging.copied, stream_), "record an event");
  return staging.card;
}

}  // namespace slim
