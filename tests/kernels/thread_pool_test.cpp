#include "kernels/thread_pool.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <atomic>
#include <thread>
#include <vector>

namespace ponder::kernels {
namespace {

TEST(ThreadPool, EveryIndexIsVisitedExactlyOnce) {
  for (const unsigned threads : {1u, 2u, 7u}) {
    ThreadPool pool({.num_threads = threads});
    ASSERT_EQ(pool.num_threads(), threads);
    for (const std::size_t n : {0u, 1u, 2u, 63u, 64u, 1000u}) {
      for (const std::size_t grain : {1u, 3u, 64u, 5000u}) {
        std::vector<std::atomic<int>> visits(n);
        pool.parallel_for(n, grain, [&](std::size_t begin, std::size_t end) {
          EXPECT_LE(end - begin, grain);
          for (std::size_t i = begin; i < end; ++i) visits[i].fetch_add(1);
        });
        for (std::size_t i = 0; i < n; ++i) ASSERT_EQ(visits[i].load(), 1) << i;
      }
    }
  }
}

TEST(ThreadPool, WritesOfChunksAreVisibleAfterTheCall) {
  ThreadPool pool({.num_threads = 4, .pin = true});
  std::vector<std::size_t> values(257);
  for (std::size_t round = 0; round < 20'000; ++round) {
    pool.parallel_for(values.size(), 16, [&](std::size_t begin, std::size_t end) {
      for (std::size_t i = begin; i < end; ++i) values[i] += i + round;
    });
  }
  const std::size_t rounds = 20'000;
  for (std::size_t i = 0; i < values.size(); ++i) {
    ASSERT_EQ(values[i], rounds * i + rounds * (rounds - 1) / 2) << i;
  }
}

TEST(ThreadPool, WorkersThatSleptTakePartAgain) {
  ThreadPool pool({.num_threads = 2});
  // Both chunks wait for each other, so the call can end only if two threads run them.
  for (int round = 0; round < 3; ++round) {
    std::atomic<int> arrived{0};
    pool.parallel_for(2, 1, [&](std::size_t, std::size_t) {
      arrived.fetch_add(1);
      while (arrived.load() < 2) std::this_thread::yield();
    });
    EXPECT_EQ(arrived.load(), 2);
    // Far longer than the spin time of a worker.
    const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(5);
    while (std::chrono::steady_clock::now() < until) std::this_thread::yield();
  }
}

TEST(ThreadPool, DefaultTakesTheProcessorsThatWeMayUse) {
  cpu_set_t ours;
  ASSERT_EQ(sched_getaffinity(0, sizeof ours, &ours), 0);
  EXPECT_EQ(ThreadPool().num_threads(), static_cast<unsigned>(CPU_COUNT(&ours)));
}

}  // namespace
}  // namespace ponder::kernels
