#pragma once

#include <cstdint>
#include <initializer_list>
#include <lua.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "tools/detail/json.h"

namespace ponder::tools {

/// The arguments of a function of ctx. Reading them never raises; a misuse is `invalid_argument` in
/// words for who writes the tool.
class Arguments {
 public:
  explicit Arguments(lua_State* L) : lua_(L) {}

  int count() const { return lua_gettop(lua_); }
  bool is_absent(int i) const { return lua_isnoneornil(lua_, i); }
  Result<std::string> text(int i) const;
  Result<double> number(int i) const;
  /// Any value with a JSON form.
  Result<Json> value(int i) const;
  /// A table of named options, or nothing, which is an empty one. An option that is not among
  /// `known` is a misuse. Secrets may stand in it (is_secret).
  Result<Json> options(int i, std::initializer_list<std::string_view> known) const;

 private:
  lua_State* lua_;
};

/// An option's value, or the default where it is not set; `invalid_argument` for another type.
Result<std::string> text_option(const Json& options, const char* name, std::string otherwise);
/// Also bounds it to 1..max.
Result<std::int64_t> count_option(const Json& options, const char* name, std::int64_t otherwise,
                                  std::int64_t max);

}  // namespace ponder::tools
