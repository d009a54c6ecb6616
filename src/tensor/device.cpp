// Counting allocation, and the host device.
#include "tensor/device.h"

#include <cstdlib>
#include <cstring>
#include <new>
#include <string>

#include "slim/error.h"

namespace slim {
namespace {

constexpr size_t kAlignment = 64;

class HostDevice final : public Device {
 public:
  std::string_view name() const override { return "host"; }

 protected:
  std::byte* acquire(size_t bytes) override {
    return static_cast<std::byte*>(
        ::operator new (bytes, std::align_val_t{kAlignment}, std::nothrow));
  }
  void release(std::byte* data, size_t /*bytes*/) noexcept override {
    ::operator delete (data, std::align_val_t{kAlignment});
  }
};

}  // namespace

Buffer::Buffer(Device& device, std::byte* data, size_t size)
    : device_(device), data_(data), size_(size) {}

Buffer::~Buffer() {
  device_.release(data_, size_);
  device_.allocated_ -= static_cast<int64_t>(size_);
}

void Device::copy(void* to, const void* from, size_t bytes) { std::memcpy(to, from, bytes); }

void Device::clear(void* to, size_t bytes) { std::memset(to, 0, bytes); }

std::shared_ptr<Buffer> Device::allocate(size_t bytes) {
  std::byte* data = acquire(bytes);
  if (data == nullptr) {
    throw Error(ErrorCode::out_of_memory,
                "There is no memory for another " + std::to_string(bytes) + " bytes.",
                std::string(name()));
  }
  const int64_t now = allocated_ += static_cast<int64_t>(bytes);
  int64_t peak = peak_.load();
  while (now > peak && !peak_.compare_exchange_weak(peak, now)) {
  }
  return std::make_shared<Buffer>(*this, data, bytes);
}

Device& host_device() {
  // Never destroyed: buffers held by static objects may outlive main().
  static HostDevice* const device = new HostDevice;
  return *device;
}

}  // namespace slim
