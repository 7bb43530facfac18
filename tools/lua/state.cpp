#include "tools/lua/state.h"

#include <fmt/format.h>

#include <cctype>
#include <cstdlib>
#include <cstring>

namespace ponder::tools::lua {
namespace {

constexpr const char* kPreludeTag = "prelude:";  // where the sandbox's own Lua code says it is

/// Whether `message` starts with "file:12: ".
bool has_place(const char* message) {
  const char* colon = std::strchr(message, ':');
  if (colon == nullptr || std::isdigit(static_cast<unsigned char>(colon[1])) == 0) return false;
  const char* end = colon + 1;
  while (std::isdigit(static_cast<unsigned char>(*end)) != 0) ++end;
  return *end == ':';
}

const char* without_prelude_place(const char* message) {
  if (std::strncmp(message, kPreludeTag, std::strlen(kPreludeTag)) != 0 || !has_place(message)) {
    return message;
  }
  const char* end = std::strchr(message + std::strlen(kPreludeTag), ':');
  return end[1] == ' ' ? end + 2 : end + 1;
}

/// The innermost line of somebody's script that is being run.
bool find_script_line(lua_State* L, lua_Debug* found) {
  for (int level = 0; lua_getstack(L, level, found) != 0; ++level) {
    lua_getinfo(L, "Sl", found);
    if (found->currentline > 0 && std::strcmp(found->short_src, "prelude") != 0) return true;
  }
  return false;
}

/// Turns the error object at 1 into a message that says where it happened: on the stack of
/// `thrower`, which still stands. Holds nothing with a destructor.
int describe_error_in(lua_State* L, lua_State* thrower) {
  if (lua_type(L, 1) != LUA_TSTRING && luaL_getmetafield(L, 1, "__tostring") == LUA_TNIL) {
    lua_pushfstring(L, "the error is a %s", luaL_typename(L, 1));
    lua_replace(L, 1);
  }
  const char* message = without_prelude_place(luaL_tolstring(L, 1, nullptr));
  lua_Debug where;
  if (has_place(message) || !find_script_line(thrower, &where)) {
    lua_pushstring(L, message);
  } else {
    lua_pushfstring(L, "%s:%d: %s", where.short_src, where.currentline, message);
  }
  return 1;
}

int describe_error(lua_State* L) { return describe_error_in(L, L); }

/// describe(error, thrower): the same for the error of a coroutine.
int describe_error_of_thread(lua_State* L) {
  auto* thrower = static_cast<lua_State*>(lua_touserdata(L, 2));
  lua_settop(L, 1);
  return describe_error_in(L, thrower);
}

}  // namespace

Result<std::unique_ptr<State>> State::create(std::size_t memory_bytes_max, const Clock& clock) {
  auto state = std::make_unique<State>(Key(), memory_bytes_max, clock);
  state->lua_.reset(lua_newstate(&State::allocate, state.get()));
  if (!state->lua_) return fail(Errc::exhausted, "no memory for a Lua state");
  lua_State* L = state->raw();
  State* self = state.get();
  std::memcpy(lua_getextraspace(L), static_cast<void*>(&self),
              sizeof(void*));  // coroutines get a copy
  const auto open_libraries = [](lua_State* inner) {
    const luaL_Reg libraries[] = {
        {LUA_GNAME, luaopen_base},       {LUA_STRLIBNAME, luaopen_string},
        {LUA_TABLIBNAME, luaopen_table}, {LUA_MATHLIBNAME, luaopen_math},
        {LUA_UTF8LIBNAME, luaopen_utf8}, {LUA_COLIBNAME, luaopen_coroutine}};
    for (const luaL_Reg& library : libraries) {
      luaL_requiref(inner, library.name, library.func, 1);
      lua_pop(inner, 1);
    }
    return 0;
  };
  constexpr std::int64_t kSetUpInstructions = 100'000;
  PONDER_CHECK(self->call(open_libraries, nullptr, 0,
                          Budget(kSetUpInstructions, Deadline::never(), nullptr)));
  return state;
}

State::~State() = default;

void* State::allocate(void* opaque, void* block, std::size_t old_size, std::size_t size) {
  auto* self = static_cast<State*>(opaque);
  const std::size_t held = block == nullptr ? 0 : old_size;  // else old_size tells the kind
  if (size == 0) {
    std::free(block);
    self->memory_bytes_ -= held;
    return nullptr;
  }
  if (size > held && size - held > self->memory_bytes_max_ - self->memory_bytes_) return nullptr;
  void* grown = std::realloc(block, size);
  if (grown == nullptr) return nullptr;
  self->memory_bytes_ += size - held;
  // What is made is also written. Nothing can be raised here: the next hook sees what is left.
  if (size > held) {
    self->take_off(static_cast<std::int64_t>((size - held) / kBytesPerInstruction));
  }
  return grown;
}

State& State::of(lua_State* L) {
  State* self = nullptr;
  std::memcpy(static_cast<void*>(&self), lua_getextraspace(L), sizeof(void*));
  return *self;
}

void State::take_off(std::int64_t instructions) {
  instructions_left_ -= instructions;
  if (slice_left_ != kNoSlice) slice_left_ -= instructions;
}

bool State::charge(std::int64_t instructions) {
  take_off(instructions);
  if (stop_ == Stop::none && instructions_left_ < 0) stop_ = Stop::instructions;
  return keep_going();
}

bool State::keep_going() {
  if (stop_ != Stop::none) return false;
  if (stop_flag_ != nullptr && stop_flag_->load(std::memory_order_relaxed)) {
    stop_ = Stop::cancelled;
  } else if (deadline_.passed(clock_)) {
    stop_ = Stop::deadline;
  }
  return stop_ == Stop::none;
}

const char* State::stop_message() const {
  switch (stop_) {
    case Stop::none:
      return nullptr;
    case Stop::instructions:
      return "instruction limit reached";
    case Stop::unpausable:
      return "too much work where the tool cannot be paused (in a function that C calls back)";
    case Stop::deadline:
      return "deadline reached";
    case Stop::cancelled:
      return "cancelled";
  }
  return nullptr;
}

void State::on_count(lua_State* L, lua_Debug* where) {
  State& self = State::of(L);
  const bool goes_on = self.charge(lua_gethookcount(L));
  const int interval = goes_on && !self.is_slow() ? kHookInterval : 1;
  // A coroutine may carry the interval of an earlier, exhausted call.
  if (lua_gethookcount(L) != interval) lua_sethook(L, on_count, LUA_MASKCOUNT, interval);
  if (goes_on && !self.must_pause(L)) return;
  if (goes_on && self.stop_ == Stop::none) {
    self.suspension_ = Progress::paused;
    lua_yield(L, 0);
    return;
  }
  lua_getinfo(L, "Sl", where);
  lua_pushfstring(L, "%s:%d: %s", where->short_src, where->currentline, self.stop_message());
  lua_error(L);
}

bool State::is_slow() {
  const auto before = looked_at_;
  looked_at_ = clock_.now();
  return looked_at_ - before > kSlowInterval;
}

bool State::must_pause(lua_State* L) {
  if (slice_left_ == kNoSlice) return false;
  // What is being suspended is on its way to the host, through the prelude.
  if (is_suspended() || (slice_left_ > 0 && looked_at_ < slice_end_)) return false;
  if (can_suspend(L)) return true;
  if (slice_left_ > -kUnpausableMax && looked_at_ < slice_end_ + kUnpausableTime) return false;
  stop_ = Stop::unpausable;
  return true;
}

void State::begin(const Budget& budget) {
  instructions_left_ = budget.instructions;
  deadline_ = budget.deadline;
  stop_flag_ = budget.stop;
  stop_ = Stop::none;
  slice_left_ = kNoSlice;
  looked_at_ = clock_.now();
  suspension_ = Progress::finished;
  pins_ = 0;
}

Result<State::Progress> State::resume(lua_State* co, int num_arguments, std::int64_t slice) {
  suspension_ = Progress::finished;
  slice_left_ = slice;
  looked_at_ = clock_.now();
  slice_end_ = looked_at_ + kSliceTime;
  int code = LUA_OK;
  if (keep_going()) {
    if (lua_gethook(co) == nullptr) lua_sethook(co, on_count, LUA_MASKCOUNT, kHookInterval);
    int num_results = 0;
    code = lua_resume(co, nullptr, num_arguments, &num_results);
  }
  slice_left_ = kNoSlice;
  if (stop_ == Stop::none) {
    if (code == LUA_OK) return Progress::finished;
    if (code == LUA_YIELD && is_suspended()) return suspension_;
    if (code == LUA_YIELD) return fail(Errc::internal, "yielded to nobody");
  }
  if (code != LUA_OK && code != LUA_YIELD && code != LUA_ERRMEM) code = describe_error_of(co);
  Error error = error_of(code);
  reset_stack();
  return tl::unexpected<Error>(std::move(error));
}

int State::describe_error_of(lua_State* co) {
  lua_State* L = raw();
  reset_stack();
  lua_sethook(L, on_count, LUA_MASKCOUNT, kHookInterval);
  lua_pushcfunction(L, describe_error_of_thread);
  lua_xmove(co, L, 1);
  lua_pushlightuserdata(L, co);
  const int code = lua_pcall(L, 2, 1, 0);
  lua_sethook(L, nullptr, 0, 0);
  return code == LUA_ERRMEM ? code : LUA_ERRRUN;
}

Status State::call(lua_CFunction body, void* data, int num_results, const Budget& budget) {
  lua_State* L = raw();
  begin(budget);
  reset_stack();
  int code = LUA_OK;
  if (keep_going()) {
    lua_sethook(L, on_count, LUA_MASKCOUNT, kHookInterval);
    lua_pushcfunction(L, describe_error);
    lua_pushcfunction(L, body);
    lua_pushlightuserdata(L, data);
    code = lua_pcall(L, 1, num_results, 1);
    lua_sethook(L, nullptr, 0, 0);
  }
  stop_flag_ = nullptr;
  deadline_ = Deadline::never();
  if (code == LUA_OK && stop_ == Stop::none) {
    lua_remove(L, 1);
    return {};
  }
  Error error = error_of(code);
  reset_stack();
  return tl::unexpected<Error>(std::move(error));
}

Error State::error_of(int code) {
  if (stop_ == Stop::cancelled) return Error(Errc::cancelled, "cancelled");
  if (stop_ == Stop::deadline) return Error(Errc::deadline, "the deadline passed");
  if (code == LUA_ERRMEM) {
    return Error(Errc::exhausted,
                 fmt::format("memory limit of {} MiB reached", memory_bytes_max_ >> 20));
  }
  std::string message = "the error has no message";
  if (lua_type(raw(), -1) == LUA_TSTRING) {
    message = lua_tostring(raw(), -1);
  } else if (stop_ != Stop::none) {  // the script ended before the hook could tell it
    message = stop_message();
  }
  const bool is_limit = stop_ == Stop::instructions || stop_ == Stop::unpausable;
  const Errc reason = is_limit ? Errc::exhausted : Errc::internal;
  return Error(reason, std::move(message));
}

}  // namespace ponder::tools::lua
