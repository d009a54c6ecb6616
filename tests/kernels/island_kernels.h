// IslandKernels: a device whose memory the processor cannot reach, made of ordinary memory. Its
// pages are closed (PROT_NONE) but while its kernels and copies run, so that code which treats them
// as the host's crashes; and its kernels refuse memory that is not its own, so that what was not
// brought to the device is found as well. New memory holds NaNs.
//
// For one thread at a time that computes: what others touch while a kernel runs goes unseen.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "kernels/arguments.h"

namespace slim::test {

class IslandDevice final : public Device {
 public:
  IslandDevice();
  ~IslandDevice() override;
  IslandDevice(const IslandDevice&) = delete;
  IslandDevice& operator=(const IslandDevice&) = delete;

  std::string_view name() const override { return "island"; }
  bool host() const noexcept override { return false; }
  void copy(void* to, const void* from, size_t bytes) override;
  void clear(void* to, size_t bytes) override;

  // Whether one allocation, not freed yet, holds all of these bytes.
  bool holds(const std::byte* data, int64_t bytes) const;

  // The island is open as long as one of these lives.
  class Visit {
   public:
    explicit Visit(IslandDevice& device) : device_(device) { device_.open(1); }
    ~Visit() { device_.open(-1); }
    Visit(const Visit&) = delete;
    Visit& operator=(const Visit&) = delete;

   private:
    IslandDevice& device_;
  };

 protected:
  std::byte* acquire(size_t bytes) override;
  void release(std::byte* data, size_t bytes) noexcept override;

 private:
  void open(int visitors);
  void protect(int visitors);

  mutable std::mutex mutex_;
  int visitors_ = 0;
  std::byte* memory_ = nullptr;
  size_t used_ = 0;                           // from the start of `memory_`; the rest is untouched
  std::map<const std::byte*, size_t> taken_;  // of what is in use
  std::multimap<size_t, std::byte*> free_;
};

// One for the whole process, as make_kernels() has them.
IslandDevice& island_device();

class IslandKernels final : public WrappedKernels<IslandKernels> {
 public:
  // `name`: from kernel_names(), kernels of the host.
  explicit IslandKernels(const std::string& name = "cpu", int threads = 2);

  std::string_view name() const override { return "island"; }
  Device& device() override { return island_device(); }

  // Throws std::logic_error if the operation would touch memory that is not the island's.
  template <typename Arguments>
  void run(const Arguments& arguments, void (Kernels::*operation)(const Arguments&)) {
    check_arguments([&](ArgumentVisitor& visitor) {
      Arguments shown = arguments;
      visit_arguments(shown, visitor);
    });
    const IslandDevice::Visit visit(island_device());
    (inner().*operation)(arguments);
  }

 private:
  static void check_arguments(FunctionRef<void(ArgumentVisitor&)> show);
};

}  // namespace slim::test
