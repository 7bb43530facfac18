#include "kernels/cuda/emulator/simt.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

#include "kernels/cuda/emulator/fiber.h"

namespace ponder::kernels::emulator {

Dim3 thread_index;
Dim3 block_index;
Dim3 block_size;
Dim3 grid_size;
bool is_watched = true;

namespace {

constexpr unsigned kLanes = 32;

enum class State : std::uint8_t { ready, at_block_barrier, at_warp_barrier, at_exchange, done };

struct Copy {
  void* to;
  ElementHistory* history;
  std::array<std::byte, 16> bytes;
};

/// A thread of a block. Its fiber is used again for every block.
struct Thread {
  explicit Thread(void (*body)()) : fiber(body) {}
  Fiber fiber;
  std::vector<Copy> copies;  // that have begun
  State state = State::done;
};

struct Warp {
  std::array<std::array<std::uint32_t, kLanes>, 2> values{};  // of this exchange and of the last
  std::array<std::array<Fragments, kLanes>, 2> fragments{};   // the same
  unsigned num_exchanges = 0;
  std::uint32_t epoch = 0;
};

/// Runs one block at a time.
class Machine {
 public:
  void run(unsigned threads, const std::function<void()>& kernel);
  /// Leaves the running thread until the scheduler finds the state resolved.
  void stop(State state);
  [[noreturn]] void fail(std::string what);

  Thread& thread() { return *threads_[thread_index.x]; }
  Warp& warp() { return warps_[thread_index.x / kLanes]; }
  std::uint64_t block() const { return block_; }
  std::uint32_t epoch() const { return epoch_; }
  std::uint64_t order_seed = 0;

 private:
  static void run_thread();
  void resume(unsigned thread);
  bool release();
  bool release_warp(unsigned warp);
  std::string describe_states() const;

  std::vector<std::unique_ptr<Thread>> threads_;
  std::vector<Warp> warps_;
  std::vector<unsigned> order_;
  const std::function<void()>* kernel_ = nullptr;
  unsigned num_threads_ = 0;
  std::uint64_t block_ = 0;
  std::uint32_t epoch_ = 0;
  std::string fault_;
};

Machine& machine() {
  static Machine the_machine;
  return the_machine;
}

void Machine::run_thread() {
  while (true) {
    (*machine().kernel_)();
    Thread& self = machine().thread();
    if (!self.copies.empty()) machine().fail("a copy into shared memory is not waited for");
    self.state = State::done;
    self.fiber.yield();
  }
}

void Machine::resume(unsigned thread) {
  thread_index = {thread, 0, 0};
  threads_[thread]->fiber.resume();
  if (fault_.empty()) return;
  threads_.clear();  // they stand in the middle of a kernel
  throw Fault(std::exchange(fault_, {}));
}

void Machine::stop(State state) {
  Thread& self = thread();
  self.state = state;
  self.fiber.yield();
}

/// The thread is never resumed, so nothing on its stack is destroyed: kernels own nothing, and the
/// words are moved out of it.
void Machine::fail(std::string what) {
  fault_ = std::move(what);
  fault_ += " (block " + std::to_string(block_index.x) + "," + std::to_string(block_index.y) + "," +
            std::to_string(block_index.z) + ", thread " + std::to_string(thread_index.x) + ")";
  threads_[thread_index.x]->fiber.yield();
  std::abort();
}

/// Lets the lanes of a warp go on when all of them wait for each other.
bool Machine::release_warp(unsigned warp) {
  const State state = threads_[std::size_t{warp} * kLanes]->state;
  if (state != State::at_warp_barrier && state != State::at_exchange) return false;
  for (unsigned i = 0; i < kLanes; ++i) {
    if (threads_[warp * kLanes + i]->state != state) return false;
  }
  for (unsigned i = 0; i < kLanes; ++i) threads_[warp * kLanes + i]->state = State::ready;
  if (state == State::at_exchange) ++warps_[warp].num_exchanges;
  if (state == State::at_warp_barrier) ++warps_[warp].epoch;
  return true;
}

bool Machine::release() {
  bool any = false;
  for (unsigned warp = 0; warp < num_threads_ / kLanes; ++warp) any = release_warp(warp) || any;
  if (any) return true;
  for (unsigned i = 0; i < num_threads_; ++i) {
    if (threads_[i]->state != State::at_block_barrier) return false;
  }
  for (unsigned i = 0; i < num_threads_; ++i) threads_[i]->state = State::ready;
  ++epoch_;
  return true;
}

std::string Machine::describe_states() const {
  std::array<int, 5> counts{};
  for (unsigned i = 0; i < num_threads_; ++i) {
    ++counts[static_cast<std::size_t>(threads_[i]->state)];
  }
  return "divergent barrier: of " + std::to_string(num_threads_) + " threads " +
         std::to_string(counts[1]) + " wait for the block, " + std::to_string(counts[2]) +
         " for their warp, " + std::to_string(counts[3]) + " for a shuffle or vote, " +
         std::to_string(counts[4]) + " have ended";
}

void Machine::run(unsigned threads, const std::function<void()>& kernel) {
  while (threads_.size() < threads) {
    threads_.push_back(std::make_unique<Thread>(&Machine::run_thread));
  }
  kernel_ = &kernel;
  num_threads_ = threads;
  warps_.assign(threads / kLanes, {});
  ++block_;
  epoch_ = 0;
  order_.resize(threads);
  std::iota(order_.begin(), order_.end(), 0U);
  if (order_seed != 0) {
    std::mt19937_64 rng(order_seed + block_);
    std::shuffle(order_.begin(), order_.end(), rng);
  }
  for (unsigned i = 0; i < threads; ++i) threads_[i]->state = State::ready;
  for (;;) {
    bool all_done = true;
    for (const unsigned thread : order_) {
      if (threads_[thread]->state == State::ready) resume(thread);
      all_done = all_done && threads_[thread]->state == State::done;
    }
    if (all_done) return;
    if (!release()) {
      const std::string states = describe_states();
      threads_.clear();
      throw Fault(states);
    }
  }
}

struct Recording {
  bool is_on = false;
  std::vector<std::function<void()>> work;
  std::uint64_t num_launches = 0;
};

Recording& the_recording() {
  static Recording recording;
  return recording;
}

/// Whether a barrier stands between an earlier access and the running thread.
bool is_ordered(const Access& before) {
  Machine& m = machine();
  if (before.block != m.block() || before.epoch != m.epoch()) return true;
  if (before.is_by_warps || before.thread / kLanes != thread_index.x / kLanes) return false;
  if (before.warp_epoch != m.warp().epoch) return true;
  return !before.is_by_lanes && before.thread == thread_index.x;
}

void note(Access& last) {
  Machine& m = machine();
  Access now{.block = m.block(),
             .epoch = m.epoch(),
             .warp_epoch = m.warp().epoch,
             .thread = static_cast<std::uint16_t>(thread_index.x)};
  if (last.block == now.block && last.epoch == now.epoch) {
    now.is_by_warps = last.is_by_warps || last.thread / kLanes != now.thread / kLanes;
    now.is_by_lanes =
        last.warp_epoch == now.warp_epoch && (last.is_by_lanes || last.thread != now.thread);
  }
  last = now;
}

}  // namespace

void watch_shared_memory(bool is_on) noexcept { is_watched = is_on; }

void set_order_seed(std::uint64_t seed) noexcept { machine().order_seed = seed; }

void run_grid(Dim3 grid, unsigned threads, const std::function<void()>& kernel) {
  if (threads == 0 || threads % kLanes != 0 || threads > 1024) {
    throw Fault("blocks of " + std::to_string(threads) + " threads");
  }
  grid_size = grid;
  block_size = {threads, 1, 1};
  for (unsigned z = 0; z < grid.z; ++z) {
    for (unsigned y = 0; y < grid.y; ++y) {
      for (unsigned x = 0; x < grid.x; ++x) {
        block_index = {x, y, z};
        machine().run(threads, kernel);
      }
    }
  }
}

void submit(std::function<void()> work) {
  if (the_recording().is_on) {
    the_recording().work.push_back(std::move(work));
  } else {
    ++the_recording().num_launches;
    work();
  }
}

void start_recording() { the_recording().is_on = true; }

std::vector<std::function<void()>> stop_recording() {
  the_recording().is_on = false;
  return std::exchange(the_recording().work, {});
}

bool is_recording() noexcept { return the_recording().is_on; }

std::uint64_t num_launches() noexcept { return the_recording().num_launches; }

void sync_block() { machine().stop(State::at_block_barrier); }

void sync_warp() { machine().stop(State::at_warp_barrier); }

std::uint32_t exchange(std::uint32_t value, unsigned source_lane) {
  Machine& m = machine();
  const unsigned thread = thread_index.x;
  Warp& warp = m.warp();
  auto& values = warp.values[warp.num_exchanges % 2];
  values[thread % kLanes] = value;
  m.stop(State::at_exchange);
  return values[source_lane % kLanes];
}

std::uint32_t vote(bool predicate) {
  Machine& m = machine();
  const unsigned thread = thread_index.x;
  Warp& warp = m.warp();
  auto& values = warp.values[warp.num_exchanges % 2];
  values[thread % kLanes] = predicate ? 1 : 0;
  m.stop(State::at_exchange);
  std::uint32_t votes = 0;
  for (unsigned i = 0; i < kLanes; ++i) votes |= values[i] << i;
  return votes;
}

const std::array<Fragments, 32>& gather(const Fragments& own) {
  Machine& m = machine();
  Warp& warp = m.warp();
  auto& all = warp.fragments[warp.num_exchanges % 2];
  all[thread_index.x % kLanes] = own;
  m.stop(State::at_exchange);
  return all;
}

void report_fault(std::string what) { machine().fail(std::move(what)); }

void note_read(ElementHistory& history) {
  const std::uint64_t block = machine().block();
  if (history.write.block != block && history.atomic.block != block) {
    report_fault("shared memory is read before it is written");
  }
  if (!is_ordered(history.write) || !is_ordered(history.atomic)) {
    report_fault("race on shared memory: read and write without a barrier");
  }
  note(history.read);
}

void note_write(ElementHistory& history) {
  if (!is_ordered(history.write) || !is_ordered(history.read) || !is_ordered(history.atomic)) {
    report_fault("race on shared memory: write and access without a barrier");
  }
  note(history.write);
}

void note_atomic(ElementHistory& history) {
  if (!is_ordered(history.write) || !is_ordered(history.read)) {
    report_fault("race on shared memory: atomic and access without a barrier");
  }
  note(history.atomic);
}

void start_copy(void* to, ElementHistory& history, const void* from) {
  if (is_watched) note_write(history);
  Copy copy{.to = to, .history = &history, .bytes = {}};
  std::memcpy(copy.bytes.data(), from, copy.bytes.size());
  std::memset(to, 0xFF, copy.bytes.size());
  machine().thread().copies.push_back(copy);
}

void wait_for_copies() {
  auto& copies = machine().thread().copies;
  for (const Copy& copy : copies) {
    if (is_watched) note_write(*copy.history);
    std::memcpy(copy.to, copy.bytes.data(), copy.bytes.size());
  }
  copies.clear();
}

}  // namespace ponder::kernels::emulator
