// ReferenceKernels: the specification of every operation, as the plainest loops there are. One
// thread, sums and softmax in double, rounded to f32 once at the end; nothing is fused, reordered
// or skipped. The other implementations are tested against this one, and a model can run on it
// (slowly) to tell a fault of a kernel from a fault of the model.
//
// It alone checks the shapes of its arguments, so that a wrong call is found here first.
#pragma once

#include <memory>
#include <string_view>

#include "kernels/kernels.h"

namespace slim {

class ReferenceKernels final : public Kernels {
 public:
  std::string_view name() const override { return "reference"; }
  Device& device() override { return host_device(); }
  int threads() const override { return 1; }
  bool takes(Inputs inputs) const override { return inputs != Inputs::f16; }

  // dense.cpp
  void linear(const Linear& arguments) override;
  void grouped_linear(const GroupedLinear& arguments) override;
  void norm(const Norm& arguments) override;
  void gate(const Gate& arguments) override;
  void clamp(const Clamp& arguments) override;
  void rotate(const Rotate& arguments) override;
  void embed(const Embed& arguments) override;
  void convolve(const Convolve& arguments) override;
  void log_softmax(const LogSoftmax& arguments) override;
  void sum_words(const SumWords& arguments) override;

  // candidates.cpp
  void forbid(const Forbid& arguments) override;
  void find_candidates(const FindCandidates& arguments) override;

  // attention.cpp
  void attend_dense(const AttendDense& arguments) override;
  void store_rows(const StoreRows& arguments) override;
  void seal_pages(const SealPages& arguments) override;
  void load_rows(const LoadRows& arguments) override;
  void attend_pair(const Attend& arguments) override;
};

// For the factory. There is one target, "", and one thread, however many are asked for.
std::unique_ptr<Kernels> make_reference_kernels(std::string_view target, int threads);

}  // namespace slim
