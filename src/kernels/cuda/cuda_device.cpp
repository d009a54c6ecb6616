// The pool, the copies and the uploads of small arrays.
#include "kernels/cuda/cuda_device.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <memory>

#include "base/check.h"
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

// What the thread gathers, kept from step to step so that it need not grow anew.
thread_local Gathering of_this_thread;

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
    : number_(number), name_("cuda:" + std::to_string(number)), staging_(kUploads), graphs_(*this) {
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
  block_memory_ = attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin);
  size_t unused = 0;
  check_cuda(cudaMemGetInfo(&unused, &memory_bytes_), "say how much memory it has");
  graphs_.overlap_kernels(architecture_ >= 90);
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

void CudaDevice::select() const {
  if (gathering() == nullptr) check_cuda(cudaSetDevice(number_), "be selected");
}

std::byte* CudaDevice::acquire(size_t bytes) {
  const std::lock_guard lock(mutex_);
  const size_t size = pool_size(bytes);
  MemoryPool::Stretch found;
  if (Gathering* const gathered = gathering()) found = gathered->freed.take(size);
  if (found.data == nullptr) found = free_.take(size);
  if (found.data != nullptr) {
    sizes_[found.data] = found.bytes;
    return found.data;
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
// What a thread has gathered is not even running yet: until then it keeps the memory to itself.
void CudaDevice::release(std::byte* data, size_t /*bytes*/) noexcept {
  const std::lock_guard lock(mutex_);
  const MemoryPool::Stretch freed{data, sizes_.extract(data).mapped()};
  Gathering* const gathered = gathering();
  (gathered == nullptr ? free_ : gathered->freed).put(freed);
}

void CudaDevice::empty_pool() noexcept {
  // cudaFree waits for the card.
  free_.drain([](const MemoryPool::Stretch& stretch) { cudaFree(stretch.data); });
}

Gathering* CudaDevice::gathering() const noexcept {
  return of_this_thread.on(*this) ? &of_this_thread : nullptr;
}

cudaStream_t CudaDevice::stream() {
  if (Gathering* const gathered = gathering()) run_gathered(*gathered);
  return stream_;
}

void CudaDevice::launch(const char* action, const void* kernel, const Grid& grid,
                        std::span<const Parameter> parameters) {
  if (Gathering* const gathered = gathering()) {
    return gathered->launches.add(action, kernel, grid, parameters);
  }
  std::array<void*, 8> values{};
  check(parameters.size() <= values.size(), "a kernel has at most eight parameters");
  for (size_t i = 0; i < parameters.size(); ++i) {
    values[i] = const_cast<void*>(parameters[i].data);
  }
  launch_kernel(action, kernel, grid, values.data(), stream_);
}

void CudaDevice::gather(FunctionRef<void()> body) {
  // Of a step within a step, and of another card: not more than one at a time.
  if (of_this_thread.begun()) return body();
  select();
  std::byte* const arena = graphs_.arena();
  struct Begun {
    CudaDevice& device;
    ~Begun() {
      device.keep_freed(of_this_thread);
      of_this_thread.end();
    }
  };
  of_this_thread.begin(*this, arena);
  const Begun begun{*this};
  body();
  run_gathered(of_this_thread);
}

void CudaDevice::run_gathered(Gathering& gathered) {
  check_cuda(cudaSetDevice(number_), "be selected");
  graphs_.run(gathered, stream_);
  keep_freed(gathered);
}

void CudaDevice::keep_freed(Gathering& gathered) noexcept {
  const std::lock_guard lock(mutex_);
  gathered.freed.drain([&](const MemoryPool::Stretch& stretch) { free_.put(stretch); });
}

void CudaDevice::copy(void* to, const void* from, size_t bytes) {
  if (bytes == 0) return;
  select();
  check_cuda(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream()), "copy");
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
  check_cuda(cudaMemsetAsync(to, 0, bytes, stream()), "clear memory");
}

const void* CudaDevice::upload_bytes(const void* from, size_t bytes) {
  if (Gathering* const gathered = gathering()) {
    return gathered->upload({static_cast<const std::byte*>(from), bytes});
  }
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
