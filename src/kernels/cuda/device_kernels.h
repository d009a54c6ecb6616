// CudaKernels: every operation on one card. Matrices, weights with their scales and biases, gains
// and pages lie in the card's memory; what kernels.h gives as spans (ids, positions, slices and
// their tables of pages), rotations and Shaping structs lie in the host's and are brought along.
// Calls return before the work is done; it runs in the order it was asked for (Device::copy waits).
// Small steps run as graphs (step_graphs.h).
//
// Arithmetic is f32: products of f16 and bf16 weights are exact and summed in f32, TF32 is off.
// Each operation agrees with the reference to the bounds of tests/kernels/parity.h.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>

#include "kernels/cuda/cuda_device.h"
#include "kernels/cuda/cuda_rotation.h"
#include "kernels/kernels.h"

namespace slim {

class Products;  // the library handles of products.cu (products.h)

class CudaKernels final : public Kernels {
 public:
  explicit CudaKernels(int number);
  ~CudaKernels() override;

  std::string_view name() const override { return name_; }
  Device& device() override { return device_; }
  int threads() const override { return 1; }
  bool chunked() const override { return true; }
  bool takes(Inputs inputs) const override {
    return inputs == Inputs::f32 || inputs == Inputs::f16;
  }
  bool attends(Inputs inputs) const override { return takes(inputs); }
  PromptSizes prompt_sizes() const override;

  // products.cu
  void linear(const Linear& arguments) override;
  void grouped_linear(const GroupedLinear& arguments) override;
  // row_ops.cu
  void norm(const Norm& arguments) override;
  void gate(const Gate& arguments) override;
  void clamp(const Clamp& arguments) override;
  void rotate(const Rotate& arguments) override;
  void embed(const Embed& arguments) override;
  void log_softmax(const LogSoftmax& arguments) override;
  // find_candidates.cu
  void forbid(const Forbid& arguments) override;
  void find_candidates(const FindCandidates& arguments) override;
  // sum_words.cu
  void sum_words(const SumWords& arguments) override;
  // encoder_ops.cu
  void convolve(const Convolve& arguments) override;
  void attend_dense(const AttendDense& arguments) override;
  // store_rows.cu, seal_pages.cu
  void store_rows(const StoreRows& arguments) override;
  void load_rows(const LoadRows& arguments) override;
  void seal_pages(const SealPages& arguments) override;
  // attend_pair.cu, attend_shared.cu
  void attend_pair(const Attend& arguments) override;
  void attend_shared(const Attend& arguments) override;
  // device_kernels.cu
  void run_step(int64_t tokens, FunctionRef<void()> body) override;

 private:
  struct RotationTables {
    Tensor rows, pages;
  };

  // The tables of a rotation, brought to the card when first asked for and kept.
  CudaRotation rotation(const Rotation& rotation);

  CudaDevice& device_;
  std::string name_;
  std::mutex mutex_;
  std::map<uint64_t, RotationTables> rotations_;  // by Rotation::id()
  std::unique_ptr<Products> products_;
};

}  // namespace slim
