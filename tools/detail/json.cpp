#include "tools/detail/json.h"

#include <fmt/format.h>

#include "base/json_problem.h"
#include "base/text.h"

namespace ponder::tools {
namespace {

/// Whether brackets outside of strings nest deeper than kJsonDepthMax. nlohmann's callback could
/// tell as well, but with one it looks through all of a list again at the end of each item that is
/// a container: a long list would take time by its square.
bool is_too_deep(std::string_view text) {
  int depth = 0;
  bool is_in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '"') {
      is_in_string = !is_in_string;
    } else if (is_in_string) {
      if (c == '\\') ++i;
    } else if (c == '[' || c == '{') {
      if (++depth > kJsonDepthMax) return true;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return false;
}

}  // namespace

Result<Json> parse_json(std::string_view text) {
  if (is_too_deep(text)) {
    return fail(Errc::invalid_argument,
                fmt::format("JSON is nested deeper than {} levels", kJsonDepthMax));
  }
  try {
    return Json::parse(text);
  } catch (const Json::exception& e) {
    return fail(Errc::invalid_argument, json_problem(e));
  }
}

std::string dump_json(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string dump_json_short(const Json& value) {
  constexpr std::size_t kBytesMax = 80;
  std::string text = dump_json(value);
  if (text.size() <= kBytesMax) return text;
  return std::string(cut_utf8(text, kBytesMax)) + "...";
}

}  // namespace ponder::tools
