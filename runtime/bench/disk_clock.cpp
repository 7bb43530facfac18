#include "runtime/bench/disk_clock.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <mutex>
#include <vector>

namespace ponder::bench {
namespace {

struct Sync {
  SteadyClock::time_point begin;
  SteadyClock::time_point end;
  std::uint64_t stamped;  // events, when it began
};

std::mutex mutex;
std::vector<Sync> syncs;
std::uint64_t stamped_now = 0;

double us(SteadyClock::duration time) {
  return std::chrono::duration<double, std::micro>(time).count();
}

}  // namespace

void reset_syncs() {
  const std::lock_guard lock(mutex);
  syncs.clear();
  stamped_now = 0;
}

std::uint64_t num_syncs() {
  const std::lock_guard lock(mutex);
  return syncs.size();
}

double sync_us() {
  const std::lock_guard lock(mutex);
  double sum = 0;
  for (const Sync& sync : syncs) sum += us(sync.end - sync.begin);
  return sum;
}

void count_stamp() {
  const std::lock_guard lock(mutex);
  ++stamped_now;
}

double waited_us(SteadyClock::time_point from, SteadyClock::time_point to, std::uint64_t stamped) {
  const std::lock_guard lock(mutex);
  double sum = 0;
  auto sync = std::lower_bound(syncs.begin(), syncs.end(), from,
                               [](const Sync& s, auto time) { return s.end < time; });
  for (; sync != syncs.end() && sync->begin < to; ++sync) {
    sum += us(std::min(sync->end, to) - std::max(sync->begin, from));
    if (sync->stamped >= stamped) break;
  }
  return sum;
}

}  // namespace ponder::bench

/// SQLite waits for the disk with this call and no other.
extern "C" int fdatasync(int fd) {
  using namespace ponder::bench;
  const auto begin = SteadyClock::now();
  std::uint64_t stamped = 0;
  {
    const std::lock_guard lock(mutex);
    stamped = stamped_now;
  }
  const auto result = static_cast<int>(syscall(SYS_fdatasync, fd));
  const std::lock_guard lock(mutex);
  syncs.push_back({begin, SteadyClock::now(), stamped});
  return result;
}
