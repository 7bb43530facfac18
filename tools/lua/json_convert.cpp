#include "tools/lua/json_convert.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <utility>

namespace ponder::tools::lua {
namespace {

void push_string(lua_State* L, const std::string& text) {
  lua_pushlstring(L, text.data(), text.size());
}

void push_array(lua_State* L, const Json& value) {
  lua_createtable(L, static_cast<int>(value.size()), 0);
  lua_Integer index = 0;
  for (auto it = value.begin(); it != value.end(); ++it) {
    if (it->is_null()) {
      lua_pushlightuserdata(L, nullptr);
    } else {
      push_json(L, *it);
    }
    lua_rawseti(L, -2, ++index);
  }
}

void push_object(lua_State* L, const Json& value) {
  lua_createtable(L, 0, static_cast<int>(value.size()));
  // items() would hold a string; the iterator does not.
  for (auto it = value.begin(); it != value.end(); ++it) {
    push_string(L, it.key());
    push_json(L, *it);
    lua_rawset(L, -3);
  }
}

/// Walks tables with raw access only, so that no metamethod runs.
class Reader {
 public:
  Reader(lua_State* L, OpaqueReader opaque) : lua_(L), opaque_(opaque) {}

  Result<Json> read(int index, int depth) {
    if (--nodes_left_ < 0) return fail(Errc::exhausted, "the table is too large for JSON");
    switch (lua_type(lua_, index)) {
      case LUA_TNIL:
        return Json(nullptr);
      case LUA_TBOOLEAN:
        return Json(lua_toboolean(lua_, index) != 0);
      case LUA_TNUMBER:
        return read_number(index);
      case LUA_TSTRING:
        return read_text(index);
      case LUA_TTABLE:
        return read_table(index, depth);
      case LUA_TLIGHTUSERDATA:
        if (lua_touserdata(lua_, index) == nullptr) return Json(nullptr);
        return no_form(index);
      case LUA_TUSERDATA:
        return opaque_ == nullptr ? no_form(index) : opaque_(lua_, index);
      default:
        return no_form(index);
    }
  }

 private:
  static constexpr int kNodesMax = 1'000'000;
  static constexpr std::size_t kTextBytesMax = 32 << 20;  // of all strings and keys

  Result<Json> no_form(int index) const {
    return fail(Errc::invalid_argument,
                fmt::format("a {} has no JSON form", lua_typename(lua_, lua_type(lua_, index))));
  }

  /// Lua keeps a string once, JSON wherever it stands: a state that is small gives a JSON that is
  /// not.
  Result<std::string> read_string(int index) {
    std::size_t size = 0;
    const char* data = lua_tolstring(lua_, index, &size);
    if (size > bytes_left_) return fail(Errc::exhausted, "the table's texts are too long for JSON");
    bytes_left_ -= size;
    return std::string(data, size);
  }

  Result<Json> read_text(int index) {
    PONDER_TRY(std::string text, read_string(index));
    return Json(std::move(text));
  }

  Result<Json> read_number(int index) const {
    if (lua_isinteger(lua_, index) != 0) return Json(lua_tointeger(lua_, index));
    const double number = lua_tonumber(lua_, index);
    if (!std::isfinite(number)) return fail(Errc::invalid_argument, "a number is not finite");
    return Json(number);
  }

  Result<Json> read_table(int index, int depth) {
    if (depth >= kJsonDepthMax) {
      return fail(Errc::invalid_argument,
                  fmt::format("tables are nested deeper than {} levels", kJsonDepthMax));
    }
    if (lua_checkstack(lua_, 4) == 0) return fail(Errc::exhausted, "no memory for the Lua stack");
    const int table = lua_absindex(lua_, index);
    const auto length = static_cast<lua_Integer>(lua_rawlen(lua_, table));
    return length > 0 ? read_array(table, length, depth) : read_object(table, depth);
  }

  Result<Json> read_array(int table, lua_Integer length, int depth) {
    Json array = Json::array();
    for (lua_Integer i = 1; i <= length; ++i) {
      lua_rawgeti(lua_, table, i);
      PONDER_TRY(Json item, read(-1, depth + 1));
      lua_pop(lua_, 1);
      array.push_back(std::move(item));
    }
    lua_Integer num_keys = 0;
    for (lua_pushnil(lua_); lua_next(lua_, table) != 0; lua_pop(lua_, 1)) ++num_keys;
    if (num_keys == length) return array;
    return fail(Errc::invalid_argument, "a table has both list items and other keys");
  }

  Result<Json> read_object(int table, int depth) {
    Json object = Json::object();
    for (lua_pushnil(lua_); lua_next(lua_, table) != 0; lua_pop(lua_, 1)) {
      if (lua_type(lua_, -2) != LUA_TSTRING) {  // lua_tolstring would change a number in place
        return fail(Errc::invalid_argument, "a table has a key that is no string");
      }
      PONDER_TRY(std::string key, read_string(-2));
      PONDER_TRY(Json member, read(-1, depth + 1));
      object[std::move(key)] = std::move(member);
    }
    return object;
  }

  lua_State* lua_;
  OpaqueReader opaque_;
  int nodes_left_ = kNodesMax;
  std::size_t bytes_left_ = kTextBytesMax;
};

}  // namespace

void push_json(lua_State* L, const Json& value) {
  luaL_checkstack(L, 4, "JSON is nested too deep");
  switch (value.type()) {
    case Json::value_t::boolean:
      lua_pushboolean(L, value.get<bool>() ? 1 : 0);
      return;
    case Json::value_t::number_integer:
      lua_pushinteger(L, value.get<lua_Integer>());
      return;
    case Json::value_t::number_unsigned: {
      const auto number = value.get<std::uint64_t>();
      const auto max = static_cast<std::uint64_t>(std::numeric_limits<lua_Integer>::max());
      if (number <= max) {
        lua_pushinteger(L, static_cast<lua_Integer>(number));
      } else {
        lua_pushnumber(L, static_cast<lua_Number>(number));
      }
      return;
    }
    case Json::value_t::number_float:
      lua_pushnumber(L, value.get<double>());
      return;
    case Json::value_t::string:
      push_string(L, value.get_ref<const std::string&>());
      return;
    case Json::value_t::array:
      push_array(L, value);
      return;
    case Json::value_t::object:
      push_object(L, value);
      return;
    default:
      lua_pushnil(L);
      return;
  }
}

Result<Json> to_json(lua_State* L, int index, OpaqueReader opaque) {
  const int top = lua_gettop(L);
  auto value = Reader(L, opaque).read(lua_absindex(L, index), 0);
  lua_settop(L, top);  // a failure may leave keys behind
  return value;
}

}  // namespace ponder::tools::lua
