#pragma once

#include <boost/asio/awaitable.hpp>
#include <lua.hpp>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include "tools/script/detail/script_call.h"

namespace ponder::tools {

/// What a function of ctx does with its arguments: answers at once, or hands out work that the
/// host awaits while the script stands still.
struct Reply {
  Reply(Answer answer) : answer(std::move(answer)) {}                    // NOLINT
  Reply(boost::asio::awaitable<Answer> work) : work(std::move(work)) {}  // NOLINT
  std::optional<Answer> answer;
  std::optional<boost::asio::awaitable<Answer>> work;
};

/// An Error is a misuse, raised in the script. Calls nothing of Lua that can raise.
using ContextBody = Result<Reply> (*)(lua_State* L, ScriptCall& call);

struct ContextFunction {
  const char* area;        // "http" of ctx.http.get; nullptr for a function of ctx itself
  const char* name;        // "get"
  const char* capability;  // the word that must be declared and granted; nullptr: none
  ContextBody body;
  bool is_outside;  // an AnswerSource may answer for it
};

/// All functions of ctx, in the order of the documentation.
std::span<const ContextFunction> context_functions();
/// "http.get"
std::string full_name(const ContextFunction& function);

/// Pushes the table ctx with all functions: those that are not declared or not granted raise, and
/// say which of the two it is. May raise.
void push_context_table(lua_State* L, const ScriptResources& resources);

/// What a secret looks like on its way through JSON: bytes of this subtype. Only headers and the
/// environments of programs may hold one.
inline constexpr std::uint64_t kSecretSubtype = 0x5ec2e7;
bool is_secret(const Json& value);
Json secret_of(std::string_view value);
/// The text, or the secret's value, of a header or variable; none for anything else.
std::optional<std::string> text_or_secret(const Json& value);
/// For lua::to_json.
Result<Json> read_secret(lua_State* L, int index);
/// Makes the metatable of secrets; once for a state. May raise.
void make_secret_metatable(lua_State* L);
/// Pushes a value that a script can hand on and not look into. May raise.
void push_secret(lua_State* L, std::string_view value);

// The bodies, by file.
Result<Reply> json_encode(lua_State* L, ScriptCall& call);
Result<Reply> json_decode(lua_State* L, ScriptCall& call);
Result<Reply> regex_match(lua_State* L, ScriptCall& call);
Result<Reply> regex_all(lua_State* L, ScriptCall& call);
Result<Reply> regex_replace(lua_State* L, ScriptCall& call);
Result<Reply> time_now(lua_State* L, ScriptCall& call);
Result<Reply> time_format(lua_State* L, ScriptCall& call);
Result<Reply> time_parse(lua_State* L, ScriptCall& call);
Result<Reply> session_log(lua_State* L, ScriptCall& call);
Result<Reply> session_progress(lua_State* L, ScriptCall& call);
Result<Reply> session_sleep(lua_State* L, ScriptCall& call);
Result<Reply> kv_get(lua_State* L, ScriptCall& call);
Result<Reply> kv_set(lua_State* L, ScriptCall& call);
Result<Reply> session_ask(lua_State* L, ScriptCall& call);
Result<Reply> session_agent(lua_State* L, ScriptCall& call);
Result<Reply> reveal_secret(lua_State* L, ScriptCall& call);
Result<Reply> http_get(lua_State* L, ScriptCall& call);
Result<Reply> http_post(lua_State* L, ScriptCall& call);
Result<Reply> http_request(lua_State* L, ScriptCall& call);
Result<Reply> fs_read(lua_State* L, ScriptCall& call);
Result<Reply> fs_write(lua_State* L, ScriptCall& call);
Result<Reply> fs_list(lua_State* L, ScriptCall& call);
Result<Reply> sql_run(lua_State* L, ScriptCall& call);
Result<Reply> exec_run(lua_State* L, ScriptCall& call);

}  // namespace ponder::tools
