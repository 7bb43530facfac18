#include <algorithm>
#include <cstring>
#include <utility>

#include "tools/script/detail/arguments.h"
#include "tools/script/detail/context_functions.h"

/// ctx.secret: values that a script hands on without seeing them.
///
/// A secret is a userdata with the value's bytes, which Lua cannot read. Joining it with text gives
/// another secret ("Bearer " .. token).
namespace ponder::tools {
namespace {

const char kMetatableKey = 0;  // in the registry: its address

/// The bytes of the secret at `index`; data() is nullptr for any other value. Never raises.
std::string_view secret_at(lua_State* L, int index) {
  index = lua_absindex(L, index);
  if (lua_type(L, index) != LUA_TUSERDATA || lua_getmetatable(L, index) == 0) return {};
  lua_rawgetp(L, LUA_REGISTRYINDEX, &kMetatableKey);
  const bool is_secret = lua_rawequal(L, -1, -2) != 0;
  lua_pop(L, 2);
  if (!is_secret) return {};
  return {static_cast<const char*>(lua_touserdata(L, index)), lua_rawlen(L, index)};
}

// The functions that Lua calls raise; nothing in them has a destructor.

std::string_view part_at(lua_State* L, int index) {
  const std::string_view secret = secret_at(L, index);
  if (secret.data() != nullptr) return secret;
  std::size_t size = 0;
  const char* text = luaL_checklstring(L, index, &size);
  return {text, size};
}

int join(lua_State* L) {
  const std::string_view left = part_at(L, 1);
  const std::string_view right = part_at(L, 2);
  auto* bytes = static_cast<char*>(lua_newuserdatauv(L, left.size() + right.size(), 0));
  left.copy(bytes, left.size());
  right.copy(bytes + left.size(), right.size());
  lua_rawgetp(L, LUA_REGISTRYINDEX, &kMetatableKey);
  lua_setmetatable(L, -2);
  return 1;
}

int show(lua_State* L) {
  lua_pushliteral(L, "[secret]");
  return 1;
}

}  // namespace

void make_secret_metatable(lua_State* L) {
  lua_createtable(L, 0, 4);
  lua_pushliteral(L, "secret");
  lua_setfield(L, -2, "__name");
  lua_pushcfunction(L, join);
  lua_setfield(L, -2, "__concat");
  lua_pushcfunction(L, show);
  lua_setfield(L, -2, "__tostring");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_rawsetp(L, LUA_REGISTRYINDEX, &kMetatableKey);
}

void push_secret(lua_State* L, std::string_view value) {
  auto* bytes = static_cast<char*>(lua_newuserdatauv(L, value.size(), 0));
  value.copy(bytes, value.size());
  lua_rawgetp(L, LUA_REGISTRYINDEX, &kMetatableKey);
  lua_setmetatable(L, -2);
}

Json secret_of(std::string_view value) {
  return Json::binary(Json::binary_t::container_type(value.begin(), value.end()), kSecretSubtype);
}

bool is_secret(const Json& value) {
  return value.is_binary() && value.get_binary().has_subtype() &&
         value.get_binary().subtype() == kSecretSubtype;
}

std::optional<std::string> text_or_secret(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (!is_secret(value)) return std::nullopt;
  const auto& bytes = value.get_binary();
  return std::string(bytes.begin(), bytes.end());
}

Result<Json> read_secret(lua_State* L, int index) {
  const std::string_view value = secret_at(L, index);
  if (value.data() == nullptr) return fail(Errc::invalid_argument, "a userdata has no JSON form");
  return secret_of(value);
}

Result<Reply> reveal_secret(lua_State* L, ScriptCall& call) {
  PONDER_TRY(const std::string name, Arguments(L).text(1));
  const ScriptResources& resources = call.resources();
  const auto& granted = resources.grants.secrets;
  if (resources.answers) return Reply(secret_of("a secret in a test"));
  if (std::find(granted.begin(), granted.end(), name) == granted.end()) {
    return fail(Errc::invalid_argument,
                "the capability \"secret:" + name + "\" is not declared or was not granted");
  }
  if (!resources.secrets) return Reply(fail(Errc::unavailable, "nobody keeps secrets here"));
  auto value = resources.secrets(name);
  if (!value) return Reply(Answer(tl::unexpected(value.error())));
  call.keep_secret(*value);
  return Reply(secret_of(*value));
}

}  // namespace ponder::tools
