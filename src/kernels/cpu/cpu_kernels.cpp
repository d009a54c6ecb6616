// CpuKernels: the class that joins the pieces: a thread pool, scratch, and the vector code of one
// instruction set, fixed when the object is made.
#include "kernels/cpu/cpu_kernels.h"

#include "kernels/cpu/attend.h"
#include "kernels/cpu/context.h"
#include "kernels/cpu/dense.h"

namespace slim {
namespace {

class CpuKernels final : public Kernels {
 public:
  CpuKernels(std::string name, Target target, int threads)
      : name_(std::move(name)),
        pool_(threads),
        scratch_(pool_.threads()),
        context_{target,
                 {product_ops(target), block_ops(target), integer_ops(target), row_ops(target)},
                 pool_,
                 scratch_} {}

  std::string_view name() const override { return name_; }
  Device& device() override { return host_device(); }
  int threads() const override { return pool_.threads(); }
  bool takes(Inputs inputs) const override { return inputs != Inputs::f16; }
  bool attends(Inputs inputs) const override {
    return inputs == Inputs::f32 || inputs == Inputs::i16;
  }

  void linear(const Linear& arguments) override { run_linear(context_, arguments); }
  void grouped_linear(const GroupedLinear& arguments) override {
    run_grouped_linear(context_, arguments);
  }
  void norm(const Norm& arguments) override { run_norm(context_, arguments); }
  void gate(const Gate& arguments) override { run_gate(context_, arguments); }
  void clamp(const Clamp& arguments) override { run_clamp(context_, arguments); }
  void rotate(const Rotate& arguments) override { run_rotate(context_, arguments); }
  void seal_pages(const SealPages& arguments) override { run_seal_pages(context_, arguments); }
  void load_rows(const LoadRows& arguments) override { run_load_rows(context_, arguments); }
  void embed(const Embed& arguments) override { run_embed(context_, arguments); }
  void convolve(const Convolve& arguments) override { run_convolve(context_, arguments); }
  void attend_dense(const AttendDense& arguments) override {
    run_attend_dense(context_, arguments);
  }
  void store_rows(const StoreRows& arguments) override { run_store_rows(context_, arguments); }
  void attend_pair(const Attend& arguments) override { run_attend_pair(context_, arguments); }
  void attend_shared(const Attend& arguments) override { run_attend_shared(context_, arguments); }
  void log_softmax(const LogSoftmax& arguments) override { run_log_softmax(context_, arguments); }
  void forbid(const Forbid& arguments) override { run_forbid(arguments); }
  void find_candidates(const FindCandidates& arguments) override {
    run_find_candidates(context_, arguments);
  }
  void sum_words(const SumWords& arguments) override { run_sum_words(context_, arguments); }

  std::unique_ptr<Session> begin_session() override {
    class Pinned final : public Session {
     public:
      explicit Pinned(ThreadPool& pool) : pin_(pool) {}

     private:
      ThreadPool::CallerPin pin_;
    };
    return std::make_unique<Pinned>(pool_);
  }

 private:
  const std::string name_;
  ThreadPool pool_;
  ScratchSets scratch_;
  const CpuContext context_;
};

}  // namespace

std::vector<std::string> cpu_kernel_names() {
  std::vector<std::string> names{"cpu"};
  for (const std::string& target : target_names()) names.push_back("cpu:" + target);
  return names;
}

std::unique_ptr<Kernels> make_cpu_kernels(std::string_view target, int threads) {
  std::string name = target.empty() ? "cpu" : "cpu:" + std::string(target);
  return std::make_unique<CpuKernels>(std::move(name), find_target(target), threads);
}

}  // namespace slim
