#include "kernels/thread_pool.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <chrono>

namespace ponder::kernels {
namespace {

constexpr std::uint32_t kOpen = 1u << 31;
constexpr std::chrono::microseconds kSpinTime{20};
constexpr int kPausesPerClockRead = 32;

void pause() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// Returns once `value` differs from `old`: first spinning, then asleep.
std::uint32_t wait_until_changed(const std::atomic<std::uint32_t>& value,
                                 std::uint32_t old) noexcept {
  const auto deadline = std::chrono::steady_clock::now() + kSpinTime;
  do {
    for (int i = 0; i < kPausesPerClockRead; ++i) {
      const std::uint32_t now = value.load(std::memory_order_acquire);
      if (now != old) return now;
      pause();
    }
  } while (std::chrono::steady_clock::now() < deadline);
  value.wait(old, std::memory_order_acquire);
  return value.load(std::memory_order_acquire);
}

std::vector<int> allowed_cpus() {
  std::vector<int> cpus;
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  }
  return cpus;
}

// Best effort: a pool that may not pin still works.
void pin_to(std::thread& thread, int cpu) noexcept {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  (void)pthread_setaffinity_np(thread.native_handle(), sizeof set, &set);
}

}  // namespace

ThreadPool::ThreadPool(ThreadPoolOptions options) {
  const std::vector<int> cpus = allowed_cpus();
  const std::size_t wanted = options.num_threads != 0 ? options.num_threads : cpus.size();
  for (std::size_t i = 1; i < wanted; ++i) {
    workers_.emplace_back([this] { worker_loop(); });
    if (options.pin && !cpus.empty()) pin_to(workers_.back(), cpus[i % cpus.size()]);
  }
}

ThreadPool::~ThreadPool() {
  stop_.store(true, std::memory_order_relaxed);
  epoch_.fetch_add(1, std::memory_order_release);
  epoch_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::parallel_for(std::size_t n, std::size_t grain, ChunkFn fn,
                              void* context) noexcept {
  const std::size_t num_chunks = n / grain + (n % grain != 0 ? 1 : 0);
  if (num_chunks <= 1 || workers_.empty()) {
    for (std::size_t begin = 0; begin < n; begin += grain) {
      fn(context, begin, std::min(n, begin + grain));
    }
    return;
  }
  job_ = {fn, context, n, grain, num_chunks};
  next_chunk_.store(0, std::memory_order_relaxed);
  gate_.store(kOpen, std::memory_order_release);
  epoch_.fetch_add(1, std::memory_order_release);
  epoch_.notify_all();
  run_chunks();
  // Workers that wake up from here on find the gate closed and go back to sleep.
  std::uint32_t inside = gate_.fetch_and(~kOpen, std::memory_order_acq_rel) & ~kOpen;
  while (inside != 0) inside = wait_until_changed(gate_, inside);
}

void ThreadPool::run_chunks() noexcept {
  for (;;) {
    const std::size_t chunk = next_chunk_.fetch_add(1, std::memory_order_relaxed);
    if (chunk >= job_.num_chunks) return;
    const std::size_t begin = chunk * job_.grain;
    job_.fn(job_.context, begin, std::min(job_.n, begin + job_.grain));
  }
}

bool ThreadPool::enter() noexcept {
  std::uint32_t gate = gate_.load(std::memory_order_acquire);
  while ((gate & kOpen) != 0) {
    if (gate_.compare_exchange_weak(gate, gate + 1, std::memory_order_acquire)) return true;
  }
  return false;
}

void ThreadPool::leave() noexcept {
  // Only the caller sleeps on the gate, and only after it has closed it.
  if ((gate_.fetch_sub(1, std::memory_order_acq_rel) & kOpen) == 0) gate_.notify_one();
}

void ThreadPool::worker_loop() noexcept {
  std::uint32_t seen = 0;
  for (;;) {
    seen = wait_until_changed(epoch_, seen);
    if (stop_.load(std::memory_order_relaxed)) return;
    if (enter()) {
      run_chunks();
      leave();
    }
  }
}

}  // namespace ponder::kernels
