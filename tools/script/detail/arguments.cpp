#include "tools/script/detail/arguments.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "tools/lua/json_convert.h"
#include "tools/script/detail/context_functions.h"

namespace ponder::tools {
namespace {

tl::unexpected<Error> wrong_type(lua_State* L, int i, const char* expected) {
  return fail(Errc::invalid_argument,
              fmt::format("argument {} must be {}, got {}", i, expected, luaL_typename(L, i)));
}

}  // namespace

Result<std::string> Arguments::text(int i) const {
  if (lua_type(lua_, i) != LUA_TSTRING) return wrong_type(lua_, i, "a string");
  std::size_t size = 0;
  const char* data = lua_tolstring(lua_, i, &size);
  return std::string(data, size);
}

Result<double> Arguments::number(int i) const {
  if (lua_type(lua_, i) != LUA_TNUMBER) return wrong_type(lua_, i, "a number");
  return lua_tonumber(lua_, i);
}

Result<Json> Arguments::value(int i) const {
  auto value = lua::to_json(lua_, i);
  if (!value) return fail_in(fmt::format("argument {}", i), value.error());
  return value;
}

Result<Json> Arguments::options(int i, std::initializer_list<std::string_view> known) const {
  if (is_absent(i)) return Json::object();
  if (lua_type(lua_, i) != LUA_TTABLE) return wrong_type(lua_, i, "a table of options");
  auto options = lua::to_json(lua_, i, read_secret);
  if (!options) return fail_in(fmt::format("argument {}", i), options.error());
  if (!options->is_object()) return wrong_type(lua_, i, "a table of named options, not a list");
  for (const auto& [name, value] : options->items()) {
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    return fail(Errc::invalid_argument, fmt::format("there is no option '{}', there are: {}", name,
                                                    fmt::join(known.begin(), known.end(), ", ")));
  }
  return options;
}

Result<std::string> text_option(const Json& options, const char* name, std::string otherwise) {
  const auto found = options.find(name);
  if (found == options.end()) return otherwise;
  if (found->is_string()) return found->get<std::string>();
  return fail(Errc::invalid_argument,
              fmt::format("option '{}' must be a string{}", name,
                          is_secret(*found) ? "; a secret cannot stand there" : ""));
}

Result<std::int64_t> count_option(const Json& options, const char* name, std::int64_t otherwise,
                                  std::int64_t max) {
  const auto found = options.find(name);
  if (found == options.end()) return otherwise;
  // A number that was computed may be a float with an integer's value.
  const bool is_whole =
      found->is_number_integer() || (found->is_number_float() && found->get<double>() >= 1 &&
                                     found->get<double>() <= static_cast<double>(max));
  const std::int64_t value = is_whole ? found->get<std::int64_t>() : 0;
  if (value >= 1 && value <= max) return value;
  return fail(Errc::invalid_argument,
              fmt::format("option '{}' must be a whole number from 1 to {}", name, max));
}

}  // namespace ponder::tools
