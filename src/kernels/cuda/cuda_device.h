// CudaDevice: memory of one card and the stream on which all of its work runs. One stream, so that
// kernels, copies and the reuse of freed memory follow one another in the order they were asked
// for, whatever thread asks.
//
// Allocations are pooled: freed memory is kept by size and handed out again without a word to the
// driver. When the card is full the pool is emptied first; then acquire() says there is none, and
// Device::allocate throws Error{out_of_memory}, after which the device is as usable as before.
//
// Kernels are started by launch(): at once, or, within gather(), as part of a graph
// (step_graphs.h).
#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <cstddef>
#include <map>
#include <mutex>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "base/function_ref.h"
#include "kernels/cuda/launch_list.h"
#include "kernels/cuda/memory_pool.h"
#include "kernels/cuda/step_graphs.h"
#include "tensor/device.h"

namespace slim {

// Throws Error{device}, or Error{out_of_memory}, with what CUDA says and what was tried.
void check_cuda(cudaError_t status, const char* action);

class CudaDevice final : public Device {
 public:
  explicit CudaDevice(int number);
  ~CudaDevice() override;
  CudaDevice(const CudaDevice&) = delete;
  CudaDevice& operator=(const CudaDevice&) = delete;

  std::string_view name() const override { return name_; }
  bool host() const noexcept override { return false; }
  void copy(void* to, const void* from, size_t bytes) override;
  void clear(void* to, size_t bytes) override;

  // Makes this card the calling thread's; every entry into CUDA begins with it.
  void select() const;
  // For what launch() does not do. Runs what the calling thread has gathered.
  cudaStream_t stream();
  // Starts a kernel. `action`: what the card could not do, should it refuse.
  template <typename... Parameters, typename... Arguments>
  void launch(const char* action, void (*kernel)(Parameters...), const Grid& grid,
              const Arguments&... arguments) {
    const std::tuple<Parameters...> values(arguments...);
    const auto parameters = std::apply(
        [](const auto&... value) {
          return std::array{Parameter{&value, sizeof(value)}...};
        },
        values);
    launch(action, reinterpret_cast<const void*>(kernel), grid, parameters);
  }
  void launch(const char* action, const void* kernel, const Grid& grid,
              std::span<const Parameter> parameters);
  // Runs `body`. What it launches and uploads on this thread begins when it needs a result, or at
  // the end. If it throws, some of it may never run.
  void gather(FunctionRef<void()> body);
  const StepGraphs& graphs() const noexcept { return graphs_; }
  int multiprocessors() const noexcept { return multiprocessors_; }
  // 10 times the compute capability: 80, 90, ...
  int architecture() const noexcept { return architecture_; }
  // Bytes of shared memory that a block may ask for.
  int block_memory() const noexcept { return block_memory_; }
  // Of the card, used or not.
  size_t memory_bytes() const noexcept { return memory_bytes_; }

  // Copies small arrays of the host (slices, positions, addresses of pages) to the card, in the
  // stream's order: returns where they are, valid for work asked for before kUploads more calls, or
  // until gather() ends. They pass through pinned memory, so the caller may change them at once.
  template <typename T>
  const T* upload(std::span<const T> values) {
    return static_cast<const T*>(upload_bytes(values.data(), values.size_bytes()));
  }

 protected:
  std::byte* acquire(size_t bytes) override;
  void release(std::byte* data, size_t bytes) noexcept override;

 private:
  const void* upload_bytes(const void* from, size_t bytes);
  void empty_pool() noexcept;
  // Of the calling thread, or null.
  Gathering* gathering() const noexcept;
  void run_gathered(Gathering& gathered);
  void keep_freed(Gathering& gathered) noexcept;

  // A stretch of pinned memory and its mirror on the card, used over and over.
  struct Staging {
    std::byte* pinned = nullptr;
    std::byte* card = nullptr;
    cudaEvent_t copied = nullptr;  // the last copy out of `pinned`
    size_t bytes = 0;
  };
  static constexpr size_t kUploads = 256;

  int number_;
  std::string name_;
  cudaStream_t stream_ = nullptr;
  int multiprocessors_ = 0;
  int architecture_ = 0;
  int block_memory_ = 0;
  size_t memory_bytes_ = 0;
  std::mutex mutex_;
  MemoryPool free_;
  std::map<std::byte*, size_t> sizes_;  // of what is in use
  std::vector<Staging> staging_;
  size_t next_staging_ = 0;
  StepGraphs graphs_;
};

// The device of a card: made when first asked for, and there until the process ends, whatever
// kernels come and go.
CudaDevice& cuda_device(int number);

}  // namespace slim
