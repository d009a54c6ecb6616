// ThreadPool: fork-join parallelism for kernels. Workers sit on distinct processors of the affinity
// mask (some kernels pack runnable threads on one core, where two spinning threads would fight),
// spin for a bounded time between jobs (about 50 us, so that the ~100 short jobs of one decode step
// need no wake-up), then sleep.
#pragma once

#include <cstdint>
#include <memory>

#include "base/function_ref.h"

namespace slim {

class ThreadPool {
 public:
  // `threads` counts the calling thread; 0 means one per processor of the affinity mask (or of the
  // cgroup's quota if that is smaller). Throws Error{bad_request} if negative or above 1024.
  explicit ThreadPool(int threads = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const noexcept;

  // Calls body(begin, end, worker) over disjoint ranges that cover [0, count), each a multiple of
  // `grain` long except the last; returns when all are done. `worker` < threads() names the
  // executing slot and is unique among bodies of this call running at the same time. Ranges are
  // handed out dynamically. Thread-safe: if another thread's job is running, or this is called from
  // inside a body, the whole job runs on the calling thread as worker 0 of its own call. The first
  // exception a body throws is rethrown here after the others have finished.
  void parallel_for(int64_t count, int64_t grain,
                    FunctionRef<void(int64_t begin, int64_t end, int worker)> body);

  // While alive, the constructing thread sits on the processor that no worker uses; its affinity
  // is restored afterwards. A second guard at the same time does nothing.
  class CallerPin {
   public:
    explicit CallerPin(ThreadPool& pool);
    ~CallerPin();
    CallerPin(const CallerPin&) = delete;
    CallerPin& operator=(const CallerPin&) = delete;

   private:
    struct Saved;
    std::unique_ptr<Saved> saved_;
  };

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace slim
