// Stretches of the host's memory, merged where they overlap, and their copies on the device.
#include "kernels/staged_kernels.h"

#include <algorithm>
#include <map>
#include <stdexcept>
#include <vector>

namespace slim::test {
namespace {

constexpr size_t kAlignment = 256;  // addresses are the same as the host's, modulo this
constexpr size_t kGuard = 256;      // bytes before and behind a stretch
constexpr auto kGuardByte = std::byte{0xA5};

struct Stretch {
  std::byte* begin = nullptr;
  std::byte* end = nullptr;
  bool written = false;
  std::shared_ptr<Buffer> buffer = nullptr;
  std::byte* device = nullptr;  // where `begin` is there

  size_t bytes() const { return static_cast<size_t>(end - begin); }
};

class Collector final : public ArgumentVisitor {
 public:
  void visit(std::byte*& data, int64_t bytes, Access access) override {
    stretches_.push_back({data, data + bytes, access == Access::write});
  }

  std::vector<Stretch> merged() {
    std::sort(stretches_.begin(), stretches_.end(),
              [](const Stretch& a, const Stretch& b) { return a.begin < b.begin; });
    std::vector<Stretch> all;
    for (const Stretch& stretch : stretches_) {
      if (all.empty() || stretch.begin >= all.back().end) {
        all.push_back(stretch);
        continue;
      }
      all.back().end = std::max(all.back().end, stretch.end);
      all.back().written = all.back().written || stretch.written;
    }
    return all;
  }

 private:
  std::vector<Stretch> stretches_;
};

class Mover final : public ArgumentVisitor {
 public:
  explicit Mover(std::span<const Stretch> stretches) : stretches_(stretches) {}

  void visit(std::byte*& data, int64_t /*bytes*/, Access /*access*/) override {
    const auto behind = std::upper_bound(
        stretches_.begin(), stretches_.end(), data,
        [](const std::byte* address, const Stretch& stretch) { return address < stretch.begin; });
    const Stretch& stretch = *(behind - 1);
    data = stretch.device + (data - stretch.begin);
  }

 private:
  std::span<const Stretch> stretches_;
};

void bring(Device& device, Stretch& stretch) {
  stretch.buffer = device.allocate(stretch.bytes() + 2 * kGuard + kAlignment);
  std::byte* const start = stretch.buffer->data();
  const auto place = [](const std::byte* address) {
    return reinterpret_cast<uintptr_t>(address) % kAlignment;
  };
  stretch.device =
      start + kGuard + (place(stretch.begin) + kAlignment - place(start + kGuard)) % kAlignment;
  const std::vector<std::byte> guards(stretch.buffer->size(), kGuardByte);
  device.copy(start, guards.data(), guards.size());
  device.copy(stretch.device, stretch.begin, stretch.bytes());
}

void take_back(Device& device, const Stretch& stretch) {
  std::vector<std::byte> all(stretch.buffer->size());
  device.copy(all.data(), stretch.buffer->data(), all.size());
  const auto first = all.begin() + (stretch.device - stretch.buffer->data());
  const auto last = first + (stretch.end - stretch.begin);
  const auto intact = [](std::byte value) { return value == kGuardByte; };
  if (!std::all_of(all.begin(), first, intact) || !std::all_of(last, all.end(), intact)) {
    throw std::logic_error("an operation wrote beside its arguments");
  }
  if (stretch.written) std::copy(first, last, stretch.begin);
}

}  // namespace

void StagedKernels::stage(FunctionRef<void(ArgumentVisitor&)> show, FunctionRef<void()> operation) {
  Collector collector;
  show(collector);
  std::vector<Stretch> stretches = collector.merged();
  Device& device = inner().device();
  for (Stretch& stretch : stretches) bring(device, stretch);
  Mover mover(stretches);
  show(mover);
  operation();
  for (const Stretch& stretch : stretches) take_back(device, stretch);
}

std::unique_ptr<Kernels> staged(std::unique_ptr<Kernels> kernels) {
  if (kernels->device().host()) return kernels;
  return std::make_unique<StagedKernels>(std::move(kernels));
}

}  // namespace slim::test
