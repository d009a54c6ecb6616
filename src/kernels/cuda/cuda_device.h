// CudaDevice: memory of one card and the stream on which all of its work runs. One stream, so that
// kernels, copies and the reuse of freed memory follow one another in the order they were asked
// for, whatever thread asks.
//
// Allocations are pooled: freed memory is kept by size and handed out again without a word to the
// driver. When the card is full the pool is emptied first; then acquire() says there is none, and
// Device::allocate throws Error{out_of_memory}, after which the device is as usable as before.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <map>
#include <mutex>
#include <span>
#include <string>
#include <vector>

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
  cudaStream_t stream() const noexcept { return stream_; }
  int multiprocessors() const noexcept { return multiprocessors_; }
  // 10 times the compute capability: 80, 90, ...
  int architecture() const noexcept { return architecture_; }

  // Copies small arrays of the host (slices, positions, addresses of pages) to the card, in the
  // stream's order: returns where they are, valid for work asked for before kUploads more calls.
  // They pass through pinned memory, so the caller may change them at once.
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
  std::mutex mutex_;
  std::multimap<size_t, std::byte*> free_;
  std::map<std::byte*, size_t> sizes_;  // of what is in use
  std::vector<Staging> staging_;
  size_t next_staging_ = 0;
};

// The device of a card: made when first asked for, and there until the process ends, whatever
// kernels come and go.
CudaDevice& cuda_device(int number);

}  // namespace slim
