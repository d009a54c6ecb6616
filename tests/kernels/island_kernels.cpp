// The island's memory: one stretch of addresses, closed as a whole.
#include "kernels/island_kernels.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace slim::test {
namespace {

// Addresses cost nothing until they are written.
constexpr size_t kIslandBytes = size_t{1} << 32;
constexpr size_t kPage = 4096;

class Checker final : public ArgumentVisitor {
 public:
  void visit(std::byte*& data, int64_t bytes, Access /*access*/) override {
    if (island_device().holds(data, bytes)) return;
    throw std::logic_error("an operation was given memory that is not its device's");
  }
};

}  // namespace

IslandDevice::IslandDevice() {
  void* memory =
      mmap(nullptr, kIslandBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::runtime_error("there are no addresses for an island");
  memory_ = static_cast<std::byte*>(memory);
}

IslandDevice::~IslandDevice() { munmap(memory_, kIslandBytes); }

void IslandDevice::copy(void* to, const void* from, size_t bytes) {
  const Visit visit(*this);
  if (bytes > 0) std::memmove(to, from, bytes);
}

void IslandDevice::clear(void* to, size_t bytes) {
  const Visit visit(*this);
  if (bytes > 0) std::memset(to, 0, bytes);
}

bool IslandDevice::holds(const std::byte* data, int64_t bytes) const {
  const std::lock_guard lock(mutex_);
  auto found = taken_.upper_bound(data);
  if (found == taken_.begin()) return false;
  --found;
  return data + bytes <= found->first + found->second;
}

void IslandDevice::open(int visitors) {
  const std::lock_guard lock(mutex_);
  protect(visitors);
}

void IslandDevice::protect(int visitors) {
  const bool was_open = visitors_ > 0;
  visitors_ += visitors;
  const bool is_open = visitors_ > 0;
  if (was_open != is_open && used_ > 0) {
    mprotect(memory_, used_, is_open ? PROT_READ | PROT_WRITE : PROT_NONE);
  }
}

// Whole pages of memory, so that what lies behind an allocation is another's, or closed.
std::byte* IslandDevice::acquire(size_t bytes) {
  const std::lock_guard lock(mutex_);
  const size_t size = (std::max<size_t>(1, bytes) + kPage - 1) / kPage * kPage;
  std::byte* data = nullptr;
  if (const auto found = free_.find(size); found != free_.end()) {
    data = found->second;
    free_.erase(found);
  } else {
    if (used_ + size > kIslandBytes) return nullptr;
    data = memory_ + used_;
    used_ += size;
  }
  taken_[data] = bytes;
  mprotect(data, size, PROT_READ | PROT_WRITE);
  std::memset(data, 0xFF, size);
  if (visitors_ == 0) mprotect(data, size, PROT_NONE);
  return data;
}

void IslandDevice::release(std::byte* data, size_t /*bytes*/) noexcept {
  const std::lock_guard lock(mutex_);
  const size_t bytes = taken_.extract(data).mapped();
  free_.emplace((std::max<size_t>(1, bytes) + kPage - 1) / kPage * kPage, data);
}

IslandDevice& island_device() {
  static IslandDevice* const device = new IslandDevice;
  return *device;
}

IslandKernels::IslandKernels(const std::string& name, int threads)
    : WrappedKernels(make_kernels(name, threads)) {}

void IslandKernels::check_arguments(FunctionRef<void(ArgumentVisitor&)> show) {
  Checker checker;
  show(checker);
}

}  // namespace slim::test
