#include "kernels/cuda/emulator/simt.h"

#include <ucontext.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PONDER_FIBERS_UNDER_ASAN 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define PONDER_FIBERS_UNDER_ASAN 1
#endif
#ifdef PONDER_FIBERS_UNDER_ASAN
#include <sanitizer/common_interface_defs.h>
#endif

namespace ponder::kernels::emulator {

Dim3 thread_index;
Dim3 block_index;
Dim3 block_size;
Dim3 grid_size;

namespace {

constexpr unsigned kLanes = 32;
constexpr std::size_t kStackBytes = std::size_t{256} << 10;

enum class State : std::uint8_t { ready, at_block_barrier, at_warp_barrier, at_exchange, done };

struct Fiber {
  ucontext_t context{};
  std::unique_ptr<std::byte[]> stack;
  State state = State::done;
  void* fake_stack = nullptr;  // of AddressSanitizer
};

struct Warp {
  std::array<std::array<std::uint32_t, kLanes>, 2> values{};  // of this exchange and of the last
  unsigned num_exchanges = 0;
  std::uint32_t epoch = 0;
};

/// Runs one block at a time; the fibers and their stacks are kept.
class Machine {
 public:
  void run(unsigned threads, const std::function<void()>& kernel);
  /// Leaves the running fiber until the scheduler finds the state resolved.
  void stop(State state);
  [[noreturn]] void fail(const std::string& what);

  Warp& warp() { return warps_[thread_index.x / kLanes]; }
  std::uint64_t block() const { return block_; }
  std::uint32_t epoch() const { return epoch_; }
  std::uint64_t order_seed = 0;

 private:
  static void enter();
  void start(Fiber& fiber);
  void resume(unsigned thread);
  bool release();
  bool release_warp(unsigned warp);
  void to_scheduler(Fiber& fiber, bool is_last);
  void arrived(Fiber* fiber);
  std::string describe_states() const;

  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Warp> warps_;
  std::vector<unsigned> order_;
  const std::function<void()>* kernel_ = nullptr;
  ucontext_t scheduler_{};
  // What AddressSanitizer has to be told; unused without it.
  [[maybe_unused]] const void* scheduler_stack_ = nullptr;
  [[maybe_unused]] std::size_t scheduler_stack_bytes_ = 0;
  [[maybe_unused]] void* scheduler_fake_stack_ = nullptr;
  unsigned num_threads_ = 0;
  std::uint64_t block_ = 0;
  std::uint32_t epoch_ = 0;
  std::string fault_;
};

Machine& machine() {
  static Machine the_machine;
  return the_machine;
}

void Machine::arrived([[maybe_unused]] Fiber* fiber) {
#ifdef PONDER_FIBERS_UNDER_ASAN
  if (fiber == nullptr) {
    __sanitizer_finish_switch_fiber(scheduler_fake_stack_, nullptr, nullptr);
  } else {
    __sanitizer_finish_switch_fiber(fiber->fake_stack, &scheduler_stack_, &scheduler_stack_bytes_);
  }
#endif
}

void Machine::to_scheduler(Fiber& fiber, [[maybe_unused]] bool is_last) {
#ifdef PONDER_FIBERS_UNDER_ASAN
  __sanitizer_start_switch_fiber(is_last ? nullptr : &fiber.fake_stack, scheduler_stack_,
                                 scheduler_stack_bytes_);
#endif
  swapcontext(&fiber.context, &scheduler_);
  arrived(&fiber);
}

void Machine::enter() {
  Machine& self = machine();
  Fiber& fiber = *self.fibers_[thread_index.x];
  self.arrived(&fiber);
  (*self.kernel_)();
  fiber.state = State::done;
  self.to_scheduler(fiber, true);
}

void Machine::start(Fiber& fiber) {
  if (!fiber.stack) fiber.stack = std::make_unique<std::byte[]>(kStackBytes);
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack.get();
  fiber.context.uc_stack.ss_size = kStackBytes;
  fiber.context.uc_link = nullptr;
  fiber.fake_stack = nullptr;
  fiber.state = State::ready;
  makecontext(&fiber.context, &Machine::enter, 0);
}

void Machine::resume(unsigned thread) {
  thread_index = {thread, 0, 0};
  Fiber& fiber = *fibers_[thread];
#ifdef PONDER_FIBERS_UNDER_ASAN
  __sanitizer_start_switch_fiber(&scheduler_fake_stack_, fiber.stack.get(), kStackBytes);
#endif
  swapcontext(&scheduler_, &fiber.context);
  arrived(nullptr);
  if (!fault_.empty()) throw Fault(std::exchange(fault_, {}));
}

void Machine::stop(State state) {
  const Dim3 own_index = thread_index;
  Fiber& fiber = *fibers_[own_index.x];
  fiber.state = state;
  to_scheduler(fiber, false);
}

/// The fiber is never resumed: kernels own nothing that would have to be destroyed.
void Machine::fail(const std::string& what) {
  fault_ = what + " (block " + std::to_string(block_index.x) + "," + std::to_string(block_index.y) +
           "," + std::to_string(block_index.z) + ", thread " + std::to_string(thread_index.x) + ")";
  to_scheduler(*fibers_[thread_index.x], true);
  std::abort();
}

/// Lets the lanes of a warp go on when all of them wait for each other.
bool Machine::release_warp(unsigned warp) {
  const State state = fibers_[warp * kLanes]->state;
  if (state != State::at_warp_barrier && state != State::at_exchange) return false;
  for (unsigned i = 0; i < kLanes; ++i) {
    if (fibers_[warp * kLanes + i]->state != state) return false;
  }
  for (unsigned i = 0; i < kLanes; ++i) fibers_[warp * kLanes + i]->state = State::ready;
  if (state == State::at_exchange) ++warps_[warp].num_exchanges;
  if (state == State::at_warp_barrier) ++warps_[warp].epoch;
  return true;
}

bool Machine::release() {
  bool any = false;
  for (unsigned warp = 0; warp < num_threads_ / kLanes; ++warp) any = release_warp(warp) || any;
  if (any) return true;
  for (unsigned i = 0; i < num_threads_; ++i) {
    if (fibers_[i]->state != State::at_block_barrier) return false;
  }
  for (unsigned i = 0; i < num_threads_; ++i) fibers_[i]->state = State::ready;
  ++epoch_;
  return true;
}

std::string Machine::describe_states() const {
  std::array<int, 5> counts{};
  for (unsigned i = 0; i < num_threads_; ++i) {
    ++counts[static_cast<std::size_t>(fibers_[i]->state)];
  }
  return "divergent barrier: of " + std::to_string(num_threads_) + " threads " +
         std::to_string(counts[1]) + " wait for the block, " + std::to_string(counts[2]) +
         " for their warp, " + std::to_string(counts[3]) + " for a shuffle or vote, " +
         std::to_string(counts[4]) + " have ended";
}

void Machine::run(unsigned threads, const std::function<void()>& kernel) {
  while (fibers_.size() < threads) fibers_.push_back(std::make_unique<Fiber>());
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
  for (unsigned i = 0; i < threads; ++i) start(*fibers_[i]);
  for (;;) {
    bool all_done = true;
    for (const unsigned thread : order_) {
      if (fibers_[thread]->state == State::ready) resume(thread);
      all_done = all_done && fibers_[thread]->state == State::done;
    }
    if (all_done) return;
    if (!release()) throw Fault(describe_states());
  }
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

void report_fault(const std::string& what) { machine().fail(what); }

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

}  // namespace ponder::kernels::emulator
