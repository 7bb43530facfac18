#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <limits>
#include <lua.hpp>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/result.h"

namespace ponder::tools::lua {

/// What one call into Lua may use. `stop` may be nullptr; whoever sets it ends the call soon.
struct Budget {
  Budget(std::int64_t instructions, Deadline deadline, const std::atomic<bool>* stop)
      : instructions(instructions), deadline(deadline), stop(stop) {}
  std::int64_t instructions;
  Deadline deadline;
  const std::atomic<bool>* stop;
};

/// A Lua state that cannot run away: memory is capped by its allocator, and every call has a budget
/// of instructions, a deadline and a stop flag.
///
/// A call runs to its end (call), or as a coroutine in slices that can wait in between (resume).
/// A budget that is used up raises an error at every further instruction, so that no pcall of the
/// script can swallow it. Work that Lua's hook does not see (patterns, SQL) is charged by the
/// functions that do it, and what makes long strings and tables by the allocator.
/// Thread: one at a time. The state survives every failure, out of memory included.
class State {
 public:
  /// `exhausted` when the cap is too small for the libraries.
  static Result<std::unique_ptr<State>> create(std::size_t memory_bytes_max, const Clock& clock);
  class Key {  // only create() makes states
    friend class State;
    Key() = default;
  };
  State(Key, std::size_t memory_bytes_max, const Clock& clock)
      : clock_(clock), memory_bytes_max_(memory_bytes_max) {}
  ~State();
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  /// Calls `body` in protected mode with `data` as its argument. Its results stay on the stack
  /// for the caller, who then clears it with reset_stack(). Errors: `deadline`, `cancelled`,
  /// `exhausted` (memory, instructions), `internal` (a Lua error, with its file and line).
  /// Requires: no object with a destructor lives in `body` while it calls what may raise.
  Status call(lua_CFunction body, void* data, int num_results, const Budget& budget);
  void reset_stack() { lua_settop(lua_.get(), 0); }
  lua_State* raw() { return lua_.get(); }

  /// How far a coroutine came.
  enum class Progress {
    finished,  // its results are on its stack
    waiting,   // a function of ours called suspend() and yielded: it goes on from there
    paused,    // its slice is used up
  };
  /// Gives the coroutine that resume() is about to run its budget, which covers all of its slices.
  void begin(const Budget& budget);
  /// Runs coroutine `co` of this state until it ends, waits or has used `slice` instructions or a
  /// few milliseconds, for an instruction on long strings takes as long as thousands. Work that
  /// cannot be paused (below a function in C that calls back) goes on to its end, or ends in
  /// `exhausted` a little later. Errors: those of call(); the coroutine is dead then.
  /// Requires: the stack of raw() is empty.
  Result<Progress> resume(lua_State* co, int num_arguments, std::int64_t slice);
  /// Whether what runs in `L` can be suspended. Coroutines of the script inside each other are no
  /// hindrance: the prelude's `resume` hands the suspension on.
  bool can_suspend(lua_State* L) const { return pins_ == 0 && lua_isyieldable(L) != 0; }
  /// Makes the next yield one to whoever called resume(). Requires: can_suspend(); a yield follows.
  void suspend() { suspension_ = Progress::waiting; }
  bool is_suspended() const { return suspension_ != Progress::finished; }
  /// Counts the frames below which nothing can be suspended.
  void pin(int change) { pins_ += change; }

  /// Whose state it is, for functions that Lua calls.
  void set_owner(void* owner) { owner_ = owner; }
  void* owner() const { return owner_; }
  std::size_t memory_bytes() const { return memory_bytes_; }

  /// The state that `L`, which may be a coroutine, belongs to.
  static State& of(lua_State* L);
  /// Takes work off the budget of the call under way, and off its slice. False when the budget is
  /// used up; the caller raises.
  bool charge(std::int64_t instructions);
  /// Whether the call under way may go on: looks at deadline and stop flag.
  bool keep_going();
  /// Why the call under way must end, as an error message; nullptr while it may go on.
  const char* stop_message() const;

 private:
  enum class Stop { none, instructions, unpausable, deadline, cancelled };
  struct Close {
    void operator()(lua_State* L) const noexcept { lua_close(L); }
  };
  static constexpr std::int64_t kNoSlice = std::numeric_limits<std::int64_t>::max();
  static constexpr std::int64_t kUnpausableMax = 10'000'000;  // instructions past a slice's end
  static constexpr int kHookInterval = 100;  // instructions; bounds how late a limit is noticed
  static constexpr std::size_t kBytesPerInstruction = 64;
  static constexpr std::chrono::milliseconds kSliceTime{5};
  static constexpr std::chrono::seconds kUnpausableTime{2};  // past a slice's end
  static constexpr std::chrono::milliseconds kSlowInterval{1};  // usual are some microseconds

  void take_off(std::int64_t instructions);
  static void* allocate(void* self, void* block, std::size_t old_size, std::size_t size);
  static void on_count(lua_State* L, lua_Debug* where);
  /// Whether instructions take so long that the hook looks at each; to be asked once in each hook.
  bool is_slow();
  /// Whether the count hook has to pause `L` now.
  bool must_pause(lua_State* L);
  /// Turns the error on top of `co`'s stack into a message on top of raw()'s; Lua's code for it.
  int describe_error_of(lua_State* co);
  Error error_of(int code);

  const Clock& clock_;
  std::size_t memory_bytes_max_;
  std::size_t memory_bytes_ = 0;
  std::int64_t instructions_left_ = 0;
  Deadline deadline_ = Deadline::never();
  const std::atomic<bool>* stop_flag_ = nullptr;
  Stop stop_ = Stop::none;
  std::int64_t slice_left_ = 0;
  Clock::Instant slice_end_;
  Clock::Instant looked_at_;  // when the hook last ran, or the call began
  Progress suspension_ = Progress::finished;  // finished: nothing is suspended
  int pins_ = 0;
  void* owner_ = nullptr;
  std::unique_ptr<lua_State, Close> lua_;  // last: closing it frees through the members above
};

/// A C++ function as Lua calls it: everything with a destructor is gone before the error jumps.
/// `Fn` gives the number of results it pushed. It calls only what cannot raise, or runs that under
/// lua_pcall.
template <Result<int> (*Fn)(lua_State*)>
int lua_entry(lua_State* L) noexcept {
  constexpr std::size_t kMessageMax = 512;
  char message[kMessageMax];
  int pushed = -1;
  {
    Result<int> result = fail(Errc::internal, "unset");
    try {
      result = Fn(L);
    } catch (const std::exception& e) {
      result = fail(Errc::internal, e.what());
    }
    if (result) {
      pushed = *result;
    } else {
      message[result.error().message.copy(message, kMessageMax - 1)] = '\0';
    }
  }
  return pushed >= 0 ? pushed : luaL_error(L, "%s", message);
}

}  // namespace ponder::tools::lua
