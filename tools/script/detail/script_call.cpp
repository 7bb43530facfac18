#include "tools/script/detail/script_call.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <utility>

#include "tools/lua/json_convert.h"
#include "tools/lua/sandbox.h"
#include "tools/lua/tool_output.h"
#include "tools/registry.h"
#include "tools/script/detail/context_functions.h"
#include "tools/script/detail/tool_database.h"

namespace ponder::tools {
namespace {

constexpr std::int64_t kLoadInstructions = 10'000'000;
constexpr std::chrono::seconds kLoadTime{5};
constexpr std::int64_t kSliceInstructions = 100'000;  // some hundred microseconds
constexpr std::int64_t kFunctionInstructions = 200;   // what a function of ctx costs, at least
constexpr std::uint32_t kNotesMax = 1000;
constexpr std::size_t kNoteBytesMax = 256 << 10;
constexpr std::chrono::milliseconds kProgressInterval{100};

// Keys of the state's registry: their addresses.
const char kRunKey = 0;
const char kContextKey = 0;
const char kThreadKey = 0;

// The functions that Lua calls raise; nothing in them has a destructor.

struct SetUpJob {
  const ScriptResources* resources;
  lua_State* coroutine;
};

int set_up(lua_State* L) {
  auto& job = *static_cast<SetUpJob*>(lua_touserdata(L, 1));
  lua_settop(L, 0);
  if (lua_getfield(L, LUA_REGISTRYINDEX, lua::kEnvironmentKey) != LUA_TTABLE) {
    return luaL_error(L, "the file returns no table");
  }
  lua_pushliteral(L, "run");
  if (lua_rawget(L, 1) != LUA_TFUNCTION) return luaL_error(L, "the tool has no function run");
  lua_rawsetp(L, LUA_REGISTRYINDEX, &kRunKey);
  make_secret_metatable(L);
  push_context_table(L, *job.resources);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &kContextKey);
  job.coroutine = lua_newthread(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &kThreadKey);
  return 0;
}

struct StartJob {
  lua_State* coroutine;
  const Json* arguments;
  const std::string* idempotency_key;
};

int put_together(lua_State* L) {
  const auto& job = *static_cast<const StartJob*>(lua_touserdata(L, 1));
  lua_settop(L, 0);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &kRunKey);
  lua::push_json(L, *job.arguments);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &kContextKey);
  lua_pushlstring(L, job.idempotency_key->data(), job.idempotency_key->size());
  lua_setfield(L, -2, "idempotency_key");
  lua_xmove(L, job.coroutine, 3);
  return 0;
}

void replace_all(std::string& text, const std::string& what, std::string_view with) {
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at)) {
    text.replace(at, what.size(), with);
    at += with.size();
  }
}

}  // namespace

Result<std::unique_ptr<ScriptCall>> ScriptCall::prepare(const ScriptResources& resources,
                                                        const std::string& text) {
  PONDER_TRY(auto state, lua::State::create(resources.memory_bytes_max, *resources.clock));
  const lua::Budget budget(kLoadInstructions, Deadline::after(*resources.clock, kLoadTime),
                           nullptr);
  PONDER_CHECK(lua::load_script(*state, text, resources.file_name, budget));
  SetUpJob job{&resources, nullptr};
  const Status status = state->call(set_up, &job, 0, budget);
  if (!status) return fail(Errc::invalid_argument, status.error().message);
  auto call = std::make_unique<ScriptCall>(Key(), resources, std::move(state));
  call->coroutine_ = job.coroutine;
  return call;
}

Status ScriptCall::start(const Json& arguments, const ToolContext& context) {
  context_ = &context;
  deadline_ = context.deadline;
  if (!resources_.waits_for_others()) {
    deadline_ = Deadline::earlier(deadline_, Deadline::after(*context.clock, resources_.time_max));
  }
  StartJob job{coroutine_, &arguments, &context.idempotency_key};
  const lua::Budget budget(resources_.instructions_max, deadline_, nullptr);
  PONDER_CHECK(state_->call(put_together, &job, 0, budget));
  state_->begin(budget);
  return {};
}

Result<lua::State::Progress> ScriptCall::run() {
  // Only the first time there is something to pass; later the script goes on where it stands.
  const bool is_first = lua_status(coroutine_) == LUA_OK;
  return state_->resume(coroutine_, is_first ? 2 : 0, kSliceInstructions);
}

boost::asio::awaitable<Answer> ScriptCall::take_work() {
  auto work = std::move(*work_);
  work_.reset();
  return work;
}

ToolOutput ScriptCall::output() const {
  lua_settop(coroutine_, 2);  // a coroutine that has ended has its results on its stack, only
  ToolOutput output = lua::tool_output(coroutine_, 1);
  output.content = redacted(std::move(output.content));
  return cap_output(std::move(output), context_->output_kept_max);
}

std::string ScriptCall::redacted(std::string text) const {
  for (const std::string& secret : secrets_) replace_all(text, secret, "[secret]");
  return text;
}

void ScriptCall::keep_secret(const std::string& value) {
  if (value.empty()) return;
  const std::string quoted = dump_json(value);
  secrets_.insert(value);
  secrets_.insert(quoted.substr(1, quoted.size() - 2));
}

Status ScriptCall::count_note(std::size_t bytes) {
  ++notes_;
  note_bytes_ += bytes;
  if (notes_ <= kNotesMax && note_bytes_ <= kNoteBytesMax) return {};
  return fail(Errc::exhausted,
              fmt::format("one call may leave {} notes of {} KiB together in the log", kNotesMax,
                          kNoteBytesMax >> 10));
}

bool ScriptCall::is_progress_due() {
  const auto now = context_->clock->now();
  if (shown_at_ && now - *shown_at_ < kProgressInterval) return false;
  shown_at_ = now;
  return true;
}

Status ScriptCall::find_answer(lua_State* L, std::size_t index) {
  const ContextFunction& function = context_functions()[index];
  if (!state_->charge(kFunctionInstructions)) {
    return fail(Errc::exhausted, state_->stop_message());
  }
  auto reply = function.body(L, *this);
  if (!reply) return tl::unexpected(reply.error());
  // Before an answer of a trial takes its place: a trial shows what would happen.
  if (reply->work && !state_->can_suspend(L)) {
    return fail(Errc::invalid_argument,
                "cannot wait here: inside a function that C calls back, such as the comparison of "
                "table.sort");
  }
  if (function.is_outside && resources_.answers) {
    auto instead = resources_.answers(full_name(function));
    if (instead) reply = Reply(std::move(*instead));
  }
  answer_ = std::move(reply->answer);
  work_ = std::move(reply->work);
  return {};
}

ScriptCall::Entered ScriptCall::enter(lua_State* L, std::size_t function) noexcept {
  Status status;
  try {
    status = find_answer(L, function);
    if (!status) {
      message_ = fmt::format("ctx.{}: {}", full_name(context_functions()[function]),
                             redacted(status.error().message));
    }
  } catch (const std::exception& e) {
    status = fail(Errc::internal, "");
    message_ = e.what();
  }
  if (!status) {
    note_misuse();
    return Entered::raise;
  }
  if (!work_) return Entered::answered;
  state_->suspend();
  return Entered::waits;
}

int ScriptCall::push_answer(lua_State* L) {
  if (!answer_->has_value()) {
    lua_pushnil(L);
    const std::string& message = answer_->error().message;
    lua_pushlstring(L, message.data(), message.size());
    return 2;
  }
  const Json& value = **answer_;
  if (is_secret(value)) {
    const auto& bytes = value.get_binary();
    push_secret(L, std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
  } else {
    lua::push_json(L, value);
  }
  return 1;
}

}  // namespace ponder::tools
