#include "tools/lua/tool_output.h"

#include <fmt/format.h>

#include <utility>

#include "base/text.h"
#include "tools/lua/json_convert.h"
#include "tools/registry.h"

namespace ponder::tools::lua {

std::string with_clean_utf8(const std::string& text) {
  std::string clean = clean_utf8(text);
  if (clean == text) return clean;
  return clean + "\n[bytes that are no UTF-8 were replaced]";
}

ToolOutput tool_output(lua_State* L, int index) {
  index = lua_absindex(L, index);
  const bool is_false = lua_isboolean(L, index) && lua_toboolean(L, index) == 0;
  const bool is_failure = lua_isnil(L, index) || is_false;
  if (is_failure && lua_isnil(L, index + 1)) return error_output("the tool gave no result");
  auto value = to_json(L, is_failure ? index + 1 : index);
  if (!value) return error_output(fmt::format("the tool's result: {}", value.error().message));
  std::string text = value->is_string() ? value->get<std::string>() : dump_json(*value);
  text = with_clean_utf8(text);
  return is_failure ? error_output(text) : ToolOutput(std::move(text), false);
}

}  // namespace ponder::tools::lua
