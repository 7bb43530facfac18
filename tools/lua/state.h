#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
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
/// A budget that is used up raises an error at every further instruction, so that no pcall of the
/// script can swallow it. Work that Lua's hook does not see (patterns, long strings, SQL) is
/// charged by the functions that do it. Thread: one at a time. The state survives every failure,
/// out of memory included.
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

  /// The state that `L`, which may be a coroutine, belongs to.
  static State& of(lua_State* L);
  /// Takes work off the budget of the call under way. False when it is used up; the caller raises.
  bool charge(std::int64_t instructions);
  /// Whether the call under way may go on: looks at deadline and stop flag.
  bool keep_going();
  /// Why the call under way must end, as an error message; nullptr while it may go on.
  const char* stop_message() const;

 private:
  enum class Stop { none, instructions, deadline, cancelled };
  struct Close {
    void operator()(lua_State* L) const noexcept { lua_close(L); }
  };
  static constexpr int kHookInterval = 100;  // instructions; bounds how late a limit is noticed

  static void* allocate(void* self, void* block, std::size_t old_size, std::size_t size);
  static void on_count(lua_State* L, lua_Debug* where);
  Error error_of(int code);

  const Clock& clock_;
  std::size_t memory_bytes_max_;
  std::size_t memory_bytes_ = 0;
  std::int64_t instructions_left_ = 0;
  Deadline deadline_ = Deadline::never();
  const std::atomic<bool>* stop_flag_ = nullptr;
  Stop stop_ = Stop::none;
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
