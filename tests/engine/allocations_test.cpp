// A decoding step takes nothing from the heap once its buffers are there. Every `new` of this
// program is counted, so it is a program of its own.
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <cstdlib>
#include <new>

#include "engine/random_whisper.h"
#include "engine/step_batch.h"
#include "models/family.h"
#include "temporary_folder.h"

namespace {

std::atomic<int64_t> count{0};

void* counted(size_t bytes, size_t alignment) {
  ++count;
  const size_t whole = (bytes + alignment - 1) / alignment * alignment;
  void* const memory = std::aligned_alloc(alignment, whole == 0 ? alignment : whole);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(size_t bytes) { return counted(bytes, alignof(std::max_align_t)); }
void* operator new(size_t bytes, std::align_val_t alignment) {
  return counted(bytes, static_cast<size_t>(alignment));
}
void* operator new(size_t bytes, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return counted(bytes, static_cast<size_t>(alignment));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }

namespace slim {
namespace {

struct Case {
  const char* cache;
  int vocabulary;  // from 8192 on the head is rounded
  size_t windows;
};

class Allocations : public testing::TestWithParam<Case> {};

// Windows of five beams, and their candidates. Their first page has room.
TEST_P(Allocations, AWarmStepHasNone) {
  const TemporaryFolder folder;
  write_random_whisper(folder.path(), {.vocabulary = GetParam().vocabulary});
  const ModelFiles files = open_model(folder.path().string());
  const auto weights = std::make_shared<ModelWeights>(files.spec, *files.checkpoint);
  const auto kernels = make_kernels("cpu", 1);  // which worker warms up is a matter of chance
  CacheChoice choice;
  choice.kind = GetParam().cache;
  choice.row_type = RowType::f16;
  const Model model(files.spec, weights, *kernels, choice);

  Tensor encoded = Tensor::allocate(host_device(), DType::f32, {100, files.spec.encoder.width});
  for (int64_t i = 0; i < encoded.elements(); ++i) {
    encoded.writable<float>()[i] = std::sin(0.37F * static_cast<float>(i));
  }
  const std::vector<PageTable> rows = [&] {
    std::vector<PageTable> all;
    for (size_t i = 0; i < GetParam().windows; ++i) all.push_back(model.remember(encoded.matrix()));
    return all;
  }();
  std::vector<Sequence> sequences;
  sequences.reserve(5 * rows.size());
  for (size_t i = 0; i < 5 * rows.size(); ++i) {
    sequences.push_back({model.new_sequence(), &rows[i / 5]});
  }
  StepBatch batch(model);
  const std::vector<ForbiddenColumns> forbidden = {{-1, 0, 10}, {3, 20, 30}};
  int64_t before = 0;
  for (int32_t step = 0; step < 40; ++step) {
    if (step == 4) before = count;
    batch.clear();
    for (Sequence& sequence : sequences) batch.add(sequence, std::span(&step, 1));
    batch.run_to_candidates({.x = {}, .count = 6}, forbidden);
  }
  EXPECT_EQ(count - before, 0);
}

INSTANTIATE_TEST_SUITE_P(Caches, Allocations,
                         testing::Values(Case{"auto", 9000, 2}, Case{"auto", 9000, 4},
                                         Case{"auto", 1000, 2}, Case{"kv", 9000, 2}));

}  // namespace
}  // namespace slim
