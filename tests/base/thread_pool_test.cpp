// ThreadPool: every index once, slots never shared, one job at a time, exceptions, affinity.
#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "base/processors.h"
#include "slim/error.h"

namespace slim {
namespace {

// How often each index of a loop was visited; ranges are checked against the grain.
std::vector<int> visits(ThreadPool& pool, int64_t count, int64_t grain) {
  std::vector<std::atomic<int>> seen(static_cast<size_t>(count));
  std::atomic<int> misfits{0};
  pool.parallel_for(count, grain, [&](int64_t begin, int64_t end, int worker) {
    const bool fits = begin < end && begin % grain == 0 && (end % grain == 0 || end == count);
    if (!fits || worker < 0 || worker >= pool.threads()) ++misfits;
    for (int64_t i = begin; i < end; ++i) ++seen[static_cast<size_t>(i)];
  });
  EXPECT_EQ(misfits, 0);
  return {seen.begin(), seen.end()};
}

class ThreadPoolSizes : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Threads, ThreadPoolSizes, testing::Values(0, 1, 2, 3, 8));

TEST_P(ThreadPoolSizes, VisitsEveryIndexOnce) {
  ThreadPool pool(GetParam());
  for (const int64_t count : {0, 1, 2, 3, 7, 64, 100, 1000}) {
    for (const int64_t grain : {1, 2, 7, 64, 5000}) {
      EXPECT_EQ(visits(pool, count, grain), std::vector<int>(static_cast<size_t>(count), 1))
          << count << " by " << grain;
    }
  }
}

TEST_P(ThreadPoolSizes, NoTwoBodiesShareASlot) {
  ThreadPool pool(GetParam());
  std::vector<std::atomic<int>> inside(static_cast<size_t>(pool.threads()));
  std::atomic<int> clashes{0};
  for (int job = 0; job < 200; ++job) {
    pool.parallel_for(32, 1, [&](int64_t, int64_t, int worker) {
      auto& slot = inside[static_cast<size_t>(worker)];
      if (++slot != 1) ++clashes;
      std::this_thread::yield();
      --slot;
    });
  }
  EXPECT_EQ(clashes, 0);
}

TEST(ThreadPool, ResultsOfABodyAreVisibleAfterwards) {
  ThreadPool pool(3);
  std::vector<int64_t> values(501);  // plain memory: what the thread sanitizer watches
  for (int64_t job = 0; job < 500; ++job) {
    pool.parallel_for(501, 3, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) values[static_cast<size_t>(i)] += i;
    });
  }
  for (int64_t i = 0; i < 501; ++i) EXPECT_EQ(values[static_cast<size_t>(i)], 500 * i);
}

TEST(ThreadPool, WorkersTakePart) {
  ThreadPool pool(2);
  std::set<std::thread::id> threads;
  std::mutex mutex;
  std::atomic<int> met{0};
  // Each body waits for the other one: this returns only if two threads run at the same time.
  pool.parallel_for(2, 1, [&](int64_t, int64_t, int) {
    ++met;
    while (met < 2) std::this_thread::yield();
    const std::lock_guard lock(mutex);
    threads.insert(std::this_thread::get_id());
  });
  EXPECT_EQ(threads.size(), 2U);
}

TEST(ThreadPool, WorkersWakeAfterTheySlept) {
  ThreadPool pool(3);
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));  // far beyond the 50 us of spinning
    std::atomic<int> met{0};
    pool.parallel_for(3, 1, [&](int64_t, int64_t, int) {
      ++met;
      while (met < 3) std::this_thread::yield();
    });
    EXPECT_EQ(met, 3);
  }
}

TEST(ThreadPool, ANestedLoopRunsOnItsCaller) {
  ThreadPool pool(4);
  std::atomic<int> total{0};
  std::atomic<int> strays{0};
  pool.parallel_for(8, 1, [&](int64_t, int64_t, int) {
    const auto self = std::this_thread::get_id();
    pool.parallel_for(100, 1, [&](int64_t begin, int64_t end, int worker) {
      if (std::this_thread::get_id() != self || worker != 0) ++strays;
      total += static_cast<int>(end - begin);
    });
  });
  EXPECT_EQ(total, 800);
  EXPECT_EQ(strays, 0);
}

TEST(ThreadPool, TwoCallersAtOnceBothFinish) {
  ThreadPool pool(3);
  const auto caller = [&](int64_t* sum) {
    for (int job = 0; job < 300; ++job) {
      std::atomic<int64_t> part{0};
      pool.parallel_for(50, 1, [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i) part += i;
      });
      *sum += part;
    }
  };
  int64_t sums[2] = {0, 0};
  std::thread other(caller, &sums[1]);
  caller(&sums[0]);
  other.join();
  EXPECT_EQ(sums[0], 300 * 1225);
  EXPECT_EQ(sums[1], 300 * 1225);
}

TEST_P(ThreadPoolSizes, AnExceptionComesOutAndThePoolLivesOn) {
  ThreadPool pool(GetParam());
  for (int job = 0; job < 20; ++job) {
    try {
      pool.parallel_for(64, 1, [&](int64_t begin, int64_t end, int) {
        if (begin <= job && job < end) throw std::runtime_error("range " + std::to_string(job));
      });
      FAIL() << "nothing was thrown";
    } catch (const std::runtime_error& error) {
      EXPECT_EQ(std::string(error.what()), "range " + std::to_string(job));
    }
  }
  EXPECT_EQ(visits(pool, 64, 1), std::vector<int>(64, 1));
}

TEST(ThreadPool, NoBodyRunsAfterTheThrow) {
  ThreadPool pool(4);
  std::atomic<int> inside{0};
  EXPECT_THROW(pool.parallel_for(64, 1,
                                 [&](int64_t, int64_t, int) {
                                   ++inside;
                                   std::this_thread::yield();
                                   --inside;
                                   throw std::runtime_error("all fail");
                                 }),
               std::runtime_error);
  EXPECT_EQ(inside, 0);
}

TEST(ThreadPool, CountsAreChecked) {
  EXPECT_THROW(ThreadPool(-1), Error);
  EXPECT_THROW(ThreadPool(1025), Error);
  ThreadPool pool(2);
  const auto nothing = [](int64_t, int64_t, int) {};
  EXPECT_THROW(pool.parallel_for(-1, 1, nothing), Error);
  EXPECT_THROW(pool.parallel_for(1, 0, nothing), Error);
}

TEST(ThreadPool, HugeCountsDoNotOverflow) {
  ThreadPool pool(2);
  std::atomic<int64_t> total{0};
  pool.parallel_for(INT64_MAX, 1, [&](int64_t begin, int64_t end, int) { total += end - begin; });
  EXPECT_EQ(total, INT64_MAX);
}

TEST(ThreadPool, CallerPinIsUndone) {
  const std::vector<int> before = allowed_processors();
  if (before.size() < 2) GTEST_SKIP() << "pinning needs two processors";
  ThreadPool pool(2);
  {
    const ThreadPool::CallerPin pin(pool);
    const std::vector<int> pinned = allowed_processors();
    EXPECT_EQ(pinned.size(), 1U);
    { const ThreadPool::CallerPin second(pool); }
    EXPECT_EQ(allowed_processors(), pinned);
    // The worker, which may still be on its way to its processor, is elsewhere once it works.
    std::atomic<int> met{0};
    std::vector<int> worker;
    pool.parallel_for(2, 1, [&](int64_t, int64_t, int slot) {
      ++met;
      while (met < 2) std::this_thread::yield();
      if (slot == 1) worker = allowed_processors();
    });
    EXPECT_EQ(worker.size(), 1U);
    EXPECT_NE(worker, pinned);
  }
  EXPECT_EQ(allowed_processors(), before);
}

TEST(ThreadPool, MoreThreadsThanProcessorsArePinnedNowhere) {
  const std::vector<int> before = allowed_processors();
  ThreadPool pool(static_cast<int>(before.size()) + 1);
  const ThreadPool::CallerPin pin(pool);
  EXPECT_EQ(allowed_processors(), before);
}

}  // namespace
}  // namespace slim
