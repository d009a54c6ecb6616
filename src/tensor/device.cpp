// Counting allocation, and the host device.
#include "tensor/device.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>

#include "slim/error.h"

namespace slim {
namespace {

constexpr size_t kAlignment = 64;

// From here on a block has pages of its own, which go back to the system with it. The heap keeps
// what is freed and splits it for what stays: an hour of speech, whose windows take 20 MB by turns
// and leave a few hundred bytes of text each, held 250 MB of holes; one window after another, of
// whose blocks the spectrum's 960 KB is the largest, it grew by 2 MB a minute.
constexpr size_t kOwnPages = size_t{1} << 18;

// From here on these are huge pages, where the system has them: attention over many sequences reads
// rows faster than addresses in pages of 4 KiB are looked up.
constexpr size_t kHugePage = size_t{1} << 21;

// The block ends where its pages do, and what follows cannot be touched: a kernel that runs past a
// large tensor faults.
struct OwnPages {
  explicit OwnPages(size_t bytes) : page(static_cast<size_t>(sysconf(_SC_PAGESIZE))) {
    const size_t aligned = (bytes + kAlignment - 1) / kAlignment * kAlignment;
    block = (aligned + page - 1) / page * page;
    before = block - aligned;
  }
  size_t page;
  size_t block;   // without the page behind it
  size_t before;  // where the bytes begin
};

std::byte* map_pages(size_t bytes) {
  if (bytes > SIZE_MAX / 2) return nullptr;
  const OwnPages pages(bytes);
  const size_t wanted = pages.block + pages.page;
  const bool huge = bytes >= kHugePage;
  const size_t spare = huge ? kHugePage : 0;  // to begin where a huge page can
  void* const mapped =
      mmap(nullptr, wanted + spare, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  auto* begin = static_cast<std::byte*>(mapped);
  if (huge) {
    const size_t skipped =
        (kHugePage - reinterpret_cast<uintptr_t>(mapped) % kHugePage) % kHugePage;
    begin += skipped;
    if (skipped > 0) munmap(mapped, skipped);
    if (skipped < spare) munmap(begin + wanted, spare - skipped);
    madvise(begin, pages.block, MADV_HUGEPAGE);  // refused where there are none
  }
  if (mprotect(begin + pages.block, pages.page, PROT_NONE) != 0) {
    munmap(begin, wanted);
    return nullptr;
  }
  return begin + pages.before;
}

void unmap_pages(std::byte* data, size_t bytes) {
  const OwnPages pages(bytes);
  munmap(data - pages.before, pages.block + pages.page);
}

class HostDevice final : public Device {
 public:
  std::string_view name() const override { return "host"; }

 protected:
  std::byte* acquire(size_t bytes) override {
    if (bytes >= kOwnPages) return map_pages(bytes);
    return static_cast<std::byte*>(
        ::operator new (bytes, std::align_val_t{kAlignment}, std::nothrow));
  }
  void release(std::byte* data, size_t bytes) noexcept override {
    if (bytes >= kOwnPages) return unmap_pages(data, bytes);
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

void Device::copy(void* to, const void* from, size_t bytes) {
  if (bytes > 0) std::memcpy(to, from, bytes);  // of no bytes, addresses may be null
}

void Device::clear(void* to, size_t bytes) {
  if (bytes > 0) std::memset(to, 0, bytes);
}

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

std::shared_ptr<const std::byte> Device::mirror(std::shared_ptr<const void> owner,
                                                const std::byte* data, size_t bytes) {
  struct Mirror {
    std::shared_ptr<const void> owner;
    std::shared_ptr<Buffer> buffer;
  };
  // Held while the bytes are copied: whoever else asks for them waits, and one path leads to the
  // device anyway.
  const std::lock_guard lock(mirrors_mutex_);
  std::weak_ptr<const std::byte>& known = mirrors_[{data, bytes}];
  if (std::shared_ptr<const std::byte> found = known.lock()) return found;
  std::erase_if(mirrors_, [&](const auto& entry) {
    return &entry.second != &known && entry.second.expired();
  });
  const auto mirror = std::make_shared<const Mirror>(
      Mirror{std::move(owner), allocate(std::max<size_t>(1, bytes))});
  copy(mirror->buffer->data(), data, bytes);
  const std::shared_ptr<const std::byte> made(mirror, mirror->buffer->data());
  known = made;
  return made;
}

Device& host_device() {
  // Never destroyed: buffers held by static objects may outlive main().
  static HostDevice* const device = new HostDevice;
  return *device;
}

}  // namespace slim
