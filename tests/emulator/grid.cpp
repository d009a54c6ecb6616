// The turns that the threads of a block take.
#include "emulator/grid.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <vector>

#include "emulator/fiber.h"

namespace slim::emulated {

dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace {

constexpr unsigned kWarpLanes = 32;
constexpr unsigned kMostThreads = 1024;
constexpr unsigned kMostRows = 65535;  // of a grid, in y and z
constexpr size_t kUsualShared = 48 * 1024;

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "emulator: %s (block %u, %u, %u; thread %u)\n", what, blockIdx.x, blockIdx.y,
               blockIdx.z, threadIdx.x);
  std::abort();
}

struct Thread {
  Fiber fiber;
  dim3 index;
  unsigned number = 0;
  uint64_t given = 0, got = 0;  // by a shuffle
  unsigned source = 0;
};

struct Warp {
  std::vector<Thread*> waiting;
  unsigned live = 0;
  WarpOperation operation = WarpOperation::none;
};

// Shared memory that lies in a static variable, and that this block has found.
using Found = std::vector<const void*>;

uint32_t seed() {
  const char* const given = std::getenv("SLIM_EMULATOR_SEED");
  const auto number = given == nullptr ? 0U : static_cast<uint32_t>(std::atoi(given));
  return (number + 1) * 2654435769U | 1U;
}

class Block {
 public:
  void run(const GridShape& shape, FunctionRef<void()> thread);
  bool wait(bool vote);
  uint64_t wait_in_warp(WarpOperation operation, uint64_t value, unsigned from);
  void enter_shared(void* memory, size_t bytes);
  void* dynamic_memory() const { return dynamic_; }
  const Thread& current() const { return *current_; }
  void set_dynamic_memory(void* memory) { dynamic_ = memory; }

 private:
  static void run_current();
  void start(unsigned count);
  Warp& warp() { return warps_[current_->number / kWarpLanes]; }
  void yield() {
    Thread& self = *current_;
    self.fiber.leave();
  }
  void release(std::vector<Thread*>& waiting);
  void release_if_all();
  void release_if_all(Warp& warp);

  std::vector<std::unique_ptr<Thread>> threads_;
  std::vector<Warp> warps_;
  std::vector<Thread*> ready_;
  std::vector<Thread*> waiting_;  // at the block's barrier
  Found found_;
  void* dynamic_ = nullptr;
  Thread* current_ = nullptr;
  const FunctionRef<void()>* body_ = nullptr;
  unsigned live_ = 0;
  bool vote_ = false, voted_ = false;
  // One of `count`, by a generator of Marsaglia's: it runs at every switch.
  size_t draw(size_t count) {
    random_ ^= random_ << 13;
    random_ ^= random_ >> 17;
    random_ ^= random_ << 5;
    return (uint64_t{random_} * count) >> 32;
  }
  uint32_t random_ = seed();
};

Block& block() {
  static Block one;
  return one;
}

void Block::release(std::vector<Thread*>& waiting) {
  ready_.insert(ready_.end(), waiting.begin(), waiting.end());
  waiting.clear();
}

void Block::release_if_all() {
  if (live_ == 0 || waiting_.size() < live_) return;
  voted_ = vote_;
  vote_ = false;
  release(waiting_);
}

void Block::release_if_all(Warp& warp) {
  if (warp.live == 0 || warp.waiting.size() < warp.live) return;
  // What a lane that is gone would give is NaN.
  uint64_t given[kWarpLanes];
  std::memset(given, 0xFF, sizeof(given));
  for (const Thread* lane : warp.waiting) given[lane->number % kWarpLanes] = lane->given;
  for (Thread* lane : warp.waiting) lane->got = given[lane->source % kWarpLanes];
  warp.operation = WarpOperation::none;
  release(warp.waiting);
}

void Block::run_current() {
  Block& self = block();
  (*self.body_)();
  Thread& thread = *self.current_;
  --self.live_;
  Warp& warp = self.warp();
  --warp.live;
  self.release_if_all();
  self.release_if_all(warp);
  thread.fiber.leave();
}

void Block::start(unsigned count) {
  while (threads_.size() < count) threads_.push_back(std::make_unique<Thread>());
  warps_.assign((count + kWarpLanes - 1) / kWarpLanes, {});
  found_.clear();
  for (unsigned i = 0; i < count; ++i) {
    Thread& thread = *threads_[i];
    thread.number = i;
    thread.index = {i % blockDim.x, i / blockDim.x % blockDim.y, i / blockDim.x / blockDim.y};
    thread.fiber.begin(run_current);
    ++warps_[i / kWarpLanes].live;
    ready_.push_back(&thread);
  }
  live_ = count;
}

void Block::run(const GridShape& shape, FunctionRef<void()> thread) {
  body_ = &thread;
  start(shape.block.count());
  while (live_ > 0) {
    if (ready_.empty()) fail("threads wait at barriers that not all reach");
    std::swap(ready_[draw(ready_.size())], ready_.back());
    current_ = ready_.back();
    ready_.pop_back();
    threadIdx = current_->index;
    current_->fiber.enter();
  }
}

bool Block::wait(bool vote) {
  vote_ = vote_ || vote;
  waiting_.push_back(current_);
  release_if_all();
  yield();
  return voted_;
}

uint64_t Block::wait_in_warp(WarpOperation operation, uint64_t value, unsigned from) {
  Warp& own = warp();
  if (own.operation != WarpOperation::none && own.operation != operation) {
    fail("the lanes of a warp meet in different operations");
  }
  own.operation = operation;
  current_->given = value;
  current_->source = from;
  own.waiting.push_back(current_);
  release_if_all(own);
  yield();
  return current_->got;
}

void Block::enter_shared(void* memory, size_t bytes) {
  if (std::find(found_.begin(), found_.end(), memory) != found_.end()) return;
  std::memset(memory, 0xFF, bytes);
  found_.push_back(memory);
}

bool accepted(const GridShape& shape, const void* kernel) {
  const dim3& grid = shape.grid;
  const unsigned threads = shape.block.count();
  return grid.count() > 0 && grid.x <= INT32_MAX && grid.y <= kMostRows && grid.z <= kMostRows &&
         threads > 0 && threads <= kMostThreads &&
         shape.shared_bytes <= std::max(kUsualShared, granted_shared(kernel));
}

}  // namespace

void run_threads(const GridShape& shape, const void* kernel, FunctionRef<void()> thread) {
  if (!accepted(shape, kernel)) return set_last_error(cudaErrorInvalidConfiguration);
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  const size_t bytes = (shape.shared_bytes + 127) / 128 * 128;
  const std::unique_ptr<void, void (*)(void*)> memory(std::aligned_alloc(128, bytes), std::free);
  block().set_dynamic_memory(memory.get());
  gridDim = shape.grid;
  blockDim = shape.block;
  for (unsigned z = 0; z < gridDim.z; ++z) {
    for (unsigned y = 0; y < gridDim.y; ++y) {
      for (unsigned x = 0; x < gridDim.x; ++x) {
        blockIdx = {x, y, z};
        if (bytes > 0) std::memset(memory.get(), 0xFF, bytes);
        block().run(shape, thread);
      }
    }
  }
}

bool wait_for_block(bool vote) { return block().wait(vote); }

uint64_t wait_for_warp(WarpOperation operation, unsigned mask, uint64_t value, int from) {
  if (mask != ~0U) fail("only whole warps are emulated");
  return block().wait_in_warp(operation, value, static_cast<unsigned>(from));
}

int lane_of_thread() { return static_cast<int>(block().current().number % kWarpLanes); }

void enter_shared(void* memory, size_t bytes) { block().enter_shared(memory, bytes); }

void* dynamic_memory() { return block().dynamic_memory(); }

}  // namespace slim::emulated
