// Device and Buffer: where bytes live. Every large allocation of the engine goes through a Device,
// which counts it; that count is what `--stats` and `bench` report as held memory.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string_view>
#include <utility>

namespace slim {

class Device;

// Owned bytes of one device, 64-byte aligned; freed (and uncounted) on destruction.
class Buffer {
 public:
  Buffer(Device& device, std::byte* data, size_t size);
  ~Buffer();
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  std::byte* data() const noexcept { return data_; }
  size_t size() const noexcept { return size_; }

 private:
  Device& device_;
  std::byte* data_;
  size_t size_;
};

// Outlives its buffers. Those that make_kernels() gives kernels live for the whole process, since
// threads keep scratch memory of theirs.
class Device {
 public:
  virtual ~Device() = default;
  virtual std::string_view name() const = 0;
  // Whether the processor itself can read and write its bytes.
  virtual bool host() const noexcept { return true; }
  // Copies bytes within the device, or between it and the host's memory, after all work that was
  // asked of the device before. On return memory of the host may be read or changed.
  virtual void copy(void* to, const void* from, size_t bytes);
  virtual void clear(void* to, size_t bytes);  // to zero, in the same order

  // Uninitialised bytes. Throws Error{out_of_memory}, after which the device is still usable.
  std::shared_ptr<Buffer> allocate(size_t bytes);
  // A copy in the device's memory of bytes of the host that never change, of which there is one
  // however many ask for it, as long as one of them holds it. It keeps `owner` alive, so that no
  // other bytes come to lie at their address. Thread-safe.
  std::shared_ptr<const std::byte> mirror(std::shared_ptr<const void> owner, const std::byte* data,
                                          size_t bytes);
  // Bytes currently allocated, and the most there ever were. Thread-safe.
  int64_t allocated_bytes() const noexcept { return allocated_.load(); }
  int64_t peak_bytes() const noexcept { return peak_.load(); }

 protected:
  virtual std::byte* acquire(size_t bytes) = 0;  // nullptr if there is no memory
  virtual void release(std::byte* data, size_t bytes) noexcept = 0;

 private:
  friend class Buffer;
  std::atomic<int64_t> allocated_{0};
  std::atomic<int64_t> peak_{0};
  std::mutex mirrors_mutex_;
  std::map<std::pair<const std::byte*, size_t>, std::weak_ptr<const std::byte>> mirrors_;
};

// Ordinary memory, shared by the reference and the CPU kernels. Lives for the whole process.
Device& host_device();

}  // namespace slim
