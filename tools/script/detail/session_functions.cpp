#include <fmt/format.h>

#include <boost/asio/this_coro.hpp>
#include <string>
#include <utility>

#include "base/async/timer.h"
#include "base/text.h"
#include "tools/script/detail/arguments.h"
#include "tools/script/detail/context_functions.h"

/// What the session does for a call: notes, progress, waiting, values, a person, other agents.
namespace ponder::tools {
namespace {

namespace asio = boost::asio;

constexpr std::size_t kLineBytesMax = 4096;
constexpr double kSleepSecondsMax = 86'400;
constexpr std::size_t kKeyBytesMax = 256;
constexpr std::size_t kValueBytesMax = 64 << 10;

/// Text on its way out of the tool.
std::string outgoing(const ScriptCall& call, std::string text, std::size_t bytes_max) {
  const std::string clean = clean_utf8(call.redacted(std::move(text)));
  return std::string(cut_utf8(clean, bytes_max));
}

tl::unexpected<Error> no_session() {
  return fail(Errc::unavailable, "the call belongs to no session");
}

asio::awaitable<Answer> keep_note(CallServices* services, std::string text) {
  Note note("log", std::move(text));
  const Status status = co_await services->note(std::move(note));
  PONDER_CO_CHECK(status);
  co_return Json(true);
}

asio::awaitable<Answer> wait_until(Clock::Instant at) {
  const auto executor = co_await asio::this_coro::executor;
  Timer timer(executor, at);
  const bool has_rung = co_await timer.wait();
  if (!has_rung) co_return fail(Errc::cancelled, "cancelled while it slept");
  co_return Json(true);
}

asio::awaitable<Answer> keep_value(CallServices* services, std::string key,
                                   std::optional<std::string> value) {
  const Status status = co_await services->set_value(std::move(key), std::move(value));
  PONDER_CO_CHECK(status);
  co_return Json(true);
}

asio::awaitable<Answer> ask_person(CallServices* services, Question question) {
  auto answer = co_await services->ask(std::move(question));
  PONDER_CO_CHECK(answer);
  co_return Json(std::move(*answer));
}

asio::awaitable<Answer> ask_agent(AgentCaller* agents, AgentTask task) {
  auto output = co_await agents->run(std::move(task));
  PONDER_CO_CHECK(output);
  if (output->is_error) co_return fail(Errc::unavailable, std::move(output->content));
  co_return Json(std::move(output->content));
}

Result<std::vector<std::string>> text_list(const Json& options, const char* name) {
  std::vector<std::string> out;
  const auto found = options.find(name);
  if (found == options.end() || (found->is_object() && found->empty())) return out;
  bool is_list = found->is_array();
  for (const Json& item : is_list ? *found : Json::array()) {
    is_list = is_list && item.is_string();
    if (is_list) out.push_back(item.get<std::string>());
  }
  if (is_list) return out;
  return fail(Errc::invalid_argument, fmt::format("option '{}' must be a list of strings", name));
}

Result<std::string> key_argument(lua_State* L) {
  PONDER_TRY(std::string key, Arguments(L).text(1));
  if (!key.empty() && key.size() <= kKeyBytesMax && clean_utf8(key) == key) return key;
  return fail(Errc::invalid_argument, fmt::format("a key is 1 to {} bytes of UTF-8", kKeyBytesMax));
}

}  // namespace

Result<Reply> session_log(lua_State* L, ScriptCall& call) {
  PONDER_TRY(std::string text, Arguments(L).text(1));
  text = outgoing(call, std::move(text), kLineBytesMax);
  PONDER_CHECK(call.count_note(text.size()));
  CallServices* services = call.context().services;
  if (services == nullptr) return Reply(Json(true));
  return Reply(keep_note(services, std::move(text)));
}

Result<Reply> session_progress(lua_State* L, ScriptCall& call) {
  const Arguments arguments(L);
  PONDER_TRY(std::string text, arguments.text(1));
  std::optional<double> share;
  if (!arguments.is_absent(2)) {
    PONDER_TRY(share, arguments.number(2));
    if (!(*share >= 0 && *share <= 1)) {
      return fail(Errc::invalid_argument, "argument 2 is a share from 0 to 1");
    }
  }
  CallServices* services = call.context().services;
  if (services != nullptr && call.is_progress_due()) {
    services->progress(outgoing(call, std::move(text), kLineBytesMax), share);
  }
  return Reply(Json(true));
}

Result<Reply> session_sleep(lua_State* L, ScriptCall& call) {
  PONDER_TRY(const double seconds, Arguments(L).number(1));
  if (!(seconds >= 0 && seconds <= kSleepSecondsMax)) {
    return fail(Errc::invalid_argument,
                fmt::format("argument 1 is a number of seconds from 0 to {}", kSleepSecondsMax));
  }
  const auto time =
      std::chrono::duration_cast<Clock::Instant::duration>(std::chrono::duration<double>(seconds));
  return Reply(wait_until(call.context().clock->now() + time));
}

Result<Reply> kv_get(lua_State* L, ScriptCall& call) {
  PONDER_TRY(const std::string key, key_argument(L));
  const CallServices* services = call.context().services;
  if (services == nullptr) return Reply(no_session());
  const auto kept = services->value(key);
  return Reply(kept ? parse_json(*kept) : Answer(Json(nullptr)));
}

Result<Reply> kv_set(lua_State* L, ScriptCall& call) {
  const Arguments arguments(L);
  PONDER_TRY(std::string key, key_argument(L));
  PONDER_TRY(const Json value, arguments.value(2));
  CallServices* services = call.context().services;
  if (services == nullptr) return Reply(no_session());
  if (value.is_null()) return Reply(keep_value(services, std::move(key), std::nullopt));
  std::string text = call.redacted(dump_json(value));
  if (text.size() > kValueBytesMax) {
    return Reply(
        fail(Errc::exhausted, fmt::format("a value of {} bytes is over the limit of {} KiB",
                                          text.size(), kValueBytesMax >> 10)));
  }
  return Reply(keep_value(services, std::move(key), std::move(text)));
}

Result<Reply> session_ask(lua_State* L, ScriptCall& call) {
  const Arguments arguments(L);
  PONDER_TRY(std::string text, arguments.text(1));
  PONDER_TRY(const Json options, arguments.options(2, {"choices"}));
  PONDER_TRY(std::vector<std::string> choices, text_list(options, "choices"));
  CallServices* services = call.context().services;
  if (services == nullptr) return Reply(no_session());
  Question question(outgoing(call, std::move(text), kLineBytesMax));
  for (std::string& choice : choices) {
    question.choices.push_back(outgoing(call, std::move(choice), kLineBytesMax));
  }
  return Reply(ask_person(services, std::move(question)));
}

Result<Reply> session_agent(lua_State* L, ScriptCall& call) {
  constexpr std::int64_t kCountMax = 1'000'000'000;
  const Arguments arguments(L);
  PONDER_TRY(std::string text, arguments.text(1));
  PONDER_TRY(const Json options,
             arguments.options(2, {"tools", "steps_max", "tokens_max", "seconds_max"}));
  AgentTask task(outgoing(call, std::move(text), kValueBytesMax));
  if (options.contains("tools")) {
    PONDER_TRY(task.tools, text_list(options, "tools"));
  }
  PONDER_TRY(const std::int64_t steps, count_option(options, "steps_max", 0, kCountMax));
  PONDER_TRY(const std::int64_t tokens, count_option(options, "tokens_max", 0, kCountMax));
  PONDER_TRY(const std::int64_t seconds, count_option(options, "seconds_max", 0, kCountMax));
  if (steps > 0) task.steps_max = static_cast<std::uint32_t>(steps);
  if (tokens > 0) task.tokens_max = static_cast<std::uint32_t>(tokens);
  if (seconds > 0) task.ms_max = seconds * 1000;
  AgentCaller* agents = call.context().agents;
  if (agents == nullptr) return Reply(fail(Errc::unavailable, "no other agents are to be had"));
  return Reply(ask_agent(agents, std::move(task)));
}

}  // namespace ponder::tools
