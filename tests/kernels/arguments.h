// Arguments: where in memory the arguments of every operation lie, for Kernels that wrap others to
// check (island_kernels.h) or to move (staged_kernels.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/function_ref.h"
#include "kernels/kernels.h"

namespace slim::test {

enum class Access : uint8_t { read, write };  // write: perhaps read as well

// Is shown every stretch of the device's memory that an operation may touch, and may change its
// address. Between two operations it holds what the changed arguments point to.
class ArgumentVisitor {
 public:
  virtual ~ArgumentVisitor() = default;
  virtual void visit(std::byte*& data, int64_t bytes, Access access) = 0;

  // What visit_arguments() is made of.
  void matrix(ConstMatrix& matrix, Access access = Access::read);
  void matrix(Matrix& matrix, Access access = Access::write);
  template <typename T>
  void vector(T*& values, int64_t count, Access access = Access::read) {
    if (values == nullptr || count == 0) return;
    auto* data = reinterpret_cast<std::byte*>(const_cast<std::remove_const_t<T>*>(values));
    visit(data, count * int64_t{sizeof(T)}, access);
    values = reinterpret_cast<T*>(data);
  }
  // Rows [begin, slice.rows) of some planes.
  void pages(Slice& slice, int64_t begin, std::span<const Plane* const> planes, Access access);
  void page(std::byte*& page, std::span<const Plane* const> planes, Access access);
  void shaping(const Shaping*& shaping);
  std::span<Slice> own(std::span<const Slice>& slices);
  std::span<SealPages::Page> own(std::span<const SealPages::Page>& pages);

 private:
  std::deque<std::vector<std::byte*>> tables_;
  std::deque<std::vector<Slice>> slices_;
  std::deque<std::vector<SealPages::Page>> sealed_;
  std::deque<Shaping> shapings_;
};

void visit_arguments(Linear& arguments, ArgumentVisitor& visitor);
void visit_arguments(GroupedLinear& arguments, ArgumentVisitor& visitor);
void visit_arguments(Norm& arguments, ArgumentVisitor& visitor);
void visit_arguments(Gate& arguments, ArgumentVisitor& visitor);
void visit_arguments(Clamp& arguments, ArgumentVisitor& visitor);
void visit_arguments(Rotate& arguments, ArgumentVisitor& visitor);
void visit_arguments(Embed& arguments, ArgumentVisitor& visitor);
void visit_arguments(Convolve& arguments, ArgumentVisitor& visitor);
void visit_arguments(AttendDense& arguments, ArgumentVisitor& visitor);
void visit_arguments(StoreRows& arguments, ArgumentVisitor& visitor);
void visit_arguments(SealPages& arguments, ArgumentVisitor& visitor);
void visit_arguments(LoadRows& arguments, ArgumentVisitor& visitor);
void visit_arguments(Attend& arguments, ArgumentVisitor& visitor);
void visit_arguments(LogSoftmax& arguments, ArgumentVisitor& visitor);
void visit_arguments(Forbid& arguments, ArgumentVisitor& visitor);
void visit_arguments(FindCandidates& arguments, ArgumentVisitor& visitor);
void visit_arguments(SumWords& arguments, ArgumentVisitor& visitor);

// Kernels around others: every operation goes through run(), which is shown its arguments.
// Derived: `template <typename Arguments> void run(Arguments, operation)`.
template <typename Derived>
class WrappedKernels : public Kernels {
 public:
  explicit WrappedKernels(std::unique_ptr<Kernels> inner) : inner_(std::move(inner)) {}

  int threads() const override { return inner_->threads(); }
  bool chunked() const override { return inner_->chunked(); }
  bool takes(Inputs inputs) const override { return inner_->takes(inputs); }
  bool attends(Inputs inputs) const override { return inner_->attends(inputs); }
  PromptSizes prompt_sizes() const override { return inner_->prompt_sizes(); }
  void linear(const Linear& a) override { derived().run(a, &Kernels::linear); }
  void grouped_linear(const GroupedLinear& a) override {
    derived().run(a, &Kernels::grouped_linear);
  }
  void norm(const Norm& a) override { derived().run(a, &Kernels::norm); }
  void gate(const Gate& a) override { derived().run(a, &Kernels::gate); }
  void clamp(const Clamp& a) override { derived().run(a, &Kernels::clamp); }
  void rotate(const Rotate& a) override { derived().run(a, &Kernels::rotate); }
  void embed(const Embed& a) override { derived().run(a, &Kernels::embed); }
  void convolve(const Convolve& a) override { derived().run(a, &Kernels::convolve); }
  void attend_dense(const AttendDense& a) override { derived().run(a, &Kernels::attend_dense); }
  void store_rows(const StoreRows& a) override { derived().run(a, &Kernels::store_rows); }
  void seal_pages(const SealPages& a) override { derived().run(a, &Kernels::seal_pages); }
  void load_rows(const LoadRows& a) override { derived().run(a, &Kernels::load_rows); }
  void attend_pair(const Attend& a) override { derived().run(a, &Kernels::attend_pair); }
  void attend_shared(const Attend& a) override { derived().run(a, &Kernels::attend_shared); }
  void log_softmax(const LogSoftmax& a) override { derived().run(a, &Kernels::log_softmax); }
  void forbid(const Forbid& a) override { derived().run(a, &Kernels::forbid); }
  void find_candidates(const FindCandidates& a) override {
    derived().run(a, &Kernels::find_candidates);
  }
  void sum_words(const SumWords& a) override { derived().run(a, &Kernels::sum_words); }
  std::unique_ptr<Session> begin_session() override { return inner_->begin_session(); }

 protected:
  Kernels& inner() const noexcept { return *inner_; }

 private:
  Derived& derived() { return static_cast<Derived&>(*this); }
  std::unique_ptr<Kernels> inner_;
};

}  // namespace slim::test
