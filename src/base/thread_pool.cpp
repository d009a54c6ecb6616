// One job at a time. A 64-bit word says which job is open and how many workers are inside it:
//
//   word = job number << 17 | open << 16 | workers inside
//
// A worker enters by counting itself in while the job is open; the caller takes ranges like any
// worker, closes the job when they run out and waits only for the workers that had entered. So a
// worker that is still waking up delays nobody, and the job's fields are written only while the
// word says closed and empty.
#include "base/thread_pool.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/processors.h"
#include "slim/error.h"

namespace slim {
namespace {

using Clock = std::chrono::steady_clock;
using Body = FunctionRef<void(int64_t, int64_t, int)>;

constexpr int kMaxThreads = 1024;
// Longer than the gap between two jobs of a decode step, shorter than anyone would notice.
constexpr auto kSpin = std::chrono::microseconds(50);
// Ranges per thread where the grain allows: enough to even out a late worker, few enough that
// taking one (about 20 ns) costs nothing.
constexpr int64_t kRangesPerThread = 8;

constexpr uint64_t kOpen = uint64_t{1} << 16;
constexpr uint64_t kInside = kOpen - 1;
constexpr int kJobShift = 17;

constexpr auto kNoBody = [](int64_t, int64_t, int) {};

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

// True as soon as `ready` is, false if `limit` passes first.
template <typename Ready>
bool spin_until(Clock::duration limit, Ready ready) {
  if (ready()) return true;
  if (limit == Clock::duration::zero()) return false;
  for (const auto end = Clock::now() + limit; Clock::now() < end;) {
    for (int i = 0; i < 16; ++i) {  // the clock costs as much as several pauses
      pause();
      if (ready()) return true;
    }
  }
  return false;
}

int resolve(int threads, size_t processors) {
  if (threads < 0 || threads > kMaxThreads) {
    throw Error(ErrorCode::bad_request,
                "The number of threads must be between 0 and " + std::to_string(kMaxThreads) +
                    ", not " + std::to_string(threads) + ".",
                "threads");
  }
  if (threads > 0) return threads;
  int available = static_cast<int>(processors);
  if (available == 0) available = static_cast<int>(std::thread::hardware_concurrency());
  if (const int quota = processor_quota(); quota > 0) available = std::min(available, quota);
  return std::clamp(available, 1, kMaxThreads);
}

// The allowed processors, the caller's own first: its slot is 0, and two processes that each use
// a part of the machine then tend to take different parts.
std::vector<int> processors_from_here() {
  std::vector<int> processors = allowed_processors();
  const auto here = std::find(processors.begin(), processors.end(), sched_getcpu());
  if (here != processors.end()) std::rotate(processors.begin(), here, processors.end());
  return processors;
}

}  // namespace

struct ThreadPool::State {
  explicit State(int requested);
  ~State() { stop(); }

  void stop();
  void work(int slot);
  void sleep(uint64_t last_job);
  bool enter(uint64_t& last_job);
  void leave();
  void run_ranges(int slot);
  void run_job(int64_t count, int64_t chunk, int64_t chunks, Body task);
  void open();
  void close();

  std::vector<int> processors;  // slot i sits on processors[i]; empty: nothing is pinned
  Clock::duration spin = kSpin;
  int slots = 1;

  std::atomic<bool> stopping{false};
  std::atomic<bool> caller_pinned{false};
  alignas(64) std::atomic<bool> busy{false};  // a caller owns the job's fields
  std::exception_ptr failure;

  // All that a job touches lies in one cache line: moving a line between processors takes about
  // 130 ns; with a line for each of these, forking to two threads and joining took 1.5 us, not 0.6.
  alignas(64) std::atomic<uint64_t> word{0};
  std::atomic<int64_t> next{0};  // the next chunk to hand out
  Body body = kNoBody;
  int64_t job_count = 0;
  int64_t job_chunk = 0;
  int64_t job_chunks = 0;
  std::atomic<bool> failed{false};
  std::atomic<bool> caller_sleeps{false};
  std::atomic<int> sleepers{0};

  alignas(64) std::mutex mutex;
  std::condition_variable wake;  // workers wait for a job
  std::condition_variable done;  // the caller waits for the workers
  std::vector<std::thread> workers;
};

ThreadPool::State::State(int requested) : processors(processors_from_here()) {
  slots = resolve(requested, processors.size());
  if (static_cast<size_t>(slots) > processors.size()) {
    // More threads than processors: pinning would stack them, and spinning would keep the one that
    // has work off its processor.
    processors.clear();
    spin = Clock::duration::zero();
  }
  try {
    for (int slot = 1; slot < slots; ++slot) {
      workers.emplace_back([this, slot] { work(slot); });
    }
  } catch (const std::exception& error) {
    stop();
    throw Error(ErrorCode::out_of_memory,
                "The system refuses thread " + std::to_string(workers.size() + 2) + " of " +
                    std::to_string(slots) + " (" + error.what() + ").",
                "threads");
  }
}

void ThreadPool::State::stop() {
  {
    const std::lock_guard lock(mutex);
    stopping = true;
  }
  wake.notify_all();
  for (std::thread& worker : workers) worker.join();
}

void ThreadPool::State::work(int slot) {
  if (!processors.empty()) {
    // Refused (the mask shrank meanwhile): the worker still works, only somewhere else.
    set_allowed_processors(pthread_self(), {processors[static_cast<size_t>(slot)]});
  }
  uint64_t last_job = 0;
  while (!stopping) {
    bool entered = false;
    spin_until(spin, [&] { return stopping || (entered = enter(last_job)); });
    if (entered) {
      run_ranges(slot);
      leave();
    } else if (!stopping) {
      sleep(last_job);
    }
  }
}

void ThreadPool::State::sleep(uint64_t last_job) {
  std::unique_lock lock(mutex);
  // Counted before the word is read, while open() writes the word before it reads the count: one
  // of the two sees the other (both are sequentially consistent).
  ++sleepers;
  wake.wait(lock, [&] {
    const uint64_t now = word;
    return stopping || ((now & kOpen) != 0 && now >> kJobShift != last_job);
  });
  --sleepers;
}

bool ThreadPool::State::enter(uint64_t& last_job) {
  uint64_t now = word.load();
  do {
    if ((now & kOpen) == 0 || now >> kJobShift == last_job) return false;
  } while (!word.compare_exchange_weak(now, now + 1));
  last_job = now >> kJobShift;
  return true;
}

void ThreadPool::State::leave() {
  const uint64_t before = word.fetch_sub(1);
  if ((before & (kOpen | kInside)) != 1 || !caller_sleeps) return;
  const std::lock_guard lock(mutex);
  done.notify_one();
}

void ThreadPool::State::run_ranges(int slot) {
  for (int64_t index = next++; index < job_chunks; index = next++) {
    const int64_t begin = index * job_chunk;
    try {
      body(begin, begin + std::min(job_chunk, job_count - begin), slot);
    } catch (...) {
      if (!failed.exchange(true)) failure = std::current_exception();
      next = job_chunks;  // the job is lost: hand out no more of it
    }
  }
}

void ThreadPool::State::open() {
  word += (uint64_t{1} << kJobShift) | kOpen;
  if (sleepers == 0) return;
  { const std::lock_guard lock(mutex); }  // nobody is between its last look and its sleep
  wake.notify_all();
}

void ThreadPool::State::close() {
  word -= kOpen;
  const auto empty = [&] { return (word & kInside) == 0; };
  if (spin_until(spin, empty)) return;
  std::unique_lock lock(mutex);
  caller_sleeps = true;
  done.wait(lock, empty);
  caller_sleeps = false;
}

void ThreadPool::State::run_job(int64_t count, int64_t chunk, int64_t chunks, Body task) {
  body = task;
  job_count = count;
  job_chunk = chunk;
  job_chunks = chunks;
  next = 0;
  failed = false;
  open();
  run_ranges(0);
  close();
  const std::exception_ptr thrown = std::exchange(failure, nullptr);
  busy = false;
  if (thrown) std::rethrow_exception(thrown);
}

ThreadPool::ThreadPool(int threads) : state_(std::make_unique<State>(threads)) {}

ThreadPool::~ThreadPool() = default;

int ThreadPool::threads() const noexcept { return state_->slots; }

void ThreadPool::parallel_for(int64_t count, int64_t grain, Body body) {
  check(count >= 0 && grain > 0, "a parallel loop has a count and a positive grain");
  if (count == 0) return;
  const int64_t ideal = count / (state_->slots * kRangesPerThread);
  const int64_t chunk = std::max(grain, ideal / grain * grain);
  const int64_t chunks = count / chunk + (count % chunk != 0 ? 1 : 0);
  // Busy: another thread's job is running, or this one's, of which the caller is a body.
  if (chunks == 1 || state_->slots == 1 || state_->busy.exchange(true)) {
    body(0, count, 0);
    return;
  }
  state_->run_job(count, chunk, chunks, body);
}

struct ThreadPool::CallerPin::Saved {
  State& state;
  pthread_t thread;
  std::vector<int> processors;
};

ThreadPool::CallerPin::CallerPin(ThreadPool& pool) {
  State& state = *pool.state_;
  // A pool of one has nobody to keep away from.
  if (state.processors.empty() || state.slots == 1 || state.caller_pinned.exchange(true)) return;
  saved_ = std::make_unique<Saved>(Saved{state, pthread_self(), allowed_processors()});
  set_allowed_processors(saved_->thread, {state.processors[0]});
}

ThreadPool::CallerPin::~CallerPin() {
  if (!saved_) return;
  set_allowed_processors(saved_->thread, saved_->processors);
  saved_->state.caller_pinned = false;
}

}  // namespace slim
