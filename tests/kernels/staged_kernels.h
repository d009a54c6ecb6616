// StagedKernels: kernels of a device with memory of its own, for tests that hand the host's memory
// to them: before every operation all that it may touch goes to the device, and what it may write
// comes back. Addresses keep their alignment, and their distance from each other where they overlap
// (y may be x). What lies between the rows of a matrix goes along; what lies before and behind must
// stay as it is.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/arguments.h"

namespace slim::test {

class StagedKernels final : public WrappedKernels<StagedKernels> {
 public:
  explicit StagedKernels(std::unique_ptr<Kernels> inner) : WrappedKernels(std::move(inner)) {}

  std::string_view name() const override { return inner().name(); }
  Device& device() override { return host_device(); }

  // Throws std::logic_error if the operation wrote beside its arguments.
  template <typename Arguments>
  void run(Arguments arguments, void (Kernels::*operation)(const Arguments&)) {
    stage([&](ArgumentVisitor& visitor) { visit_arguments(arguments, visitor); },
          [&] { (inner().*operation)(arguments); });
  }

 private:
  // `show` shows the arguments: once to learn where they are, once to change their addresses.
  void stage(FunctionRef<void(ArgumentVisitor&)> show, FunctionRef<void()> operation);
};

// The kernels themselves where they take the host's memory.
std::unique_ptr<Kernels> staged(std::unique_ptr<Kernels> kernels);

// What tests run on: kernel_names(), of cards "cuda" alone, which is named on every machine, and
// "island".
std::vector<std::string> test_device_names();
// By a name from there; null for "cuda" without a card. The first is for code that places memory
// itself, as the engine does; the second takes the host's, whatever the device.
std::unique_ptr<Kernels> device_kernels(std::string_view name, int threads);
std::unique_ptr<Kernels> test_kernels(std::string_view name, int threads);
constexpr const char* kNoCard = "there is no card";

}  // namespace slim::test
