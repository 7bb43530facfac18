#include "tools/detail/json.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"

namespace ponder::tools {
namespace {

/// nlohmann's messages start with "[json.exception.parse_error.101] ", which helps nobody.
std::string without_tag(std::string_view message) {
  const auto end = message.find("] ");
  return std::string(end == std::string_view::npos ? message : message.substr(end + 2));
}

}  // namespace

Result<Json> parse_json(std::string_view text) {
  bool is_too_deep = false;
  const auto watch_depth = [&is_too_deep](int depth, Json::parse_event_t, Json&) {
    is_too_deep = is_too_deep || depth > kJsonDepthMax;
    return !is_too_deep;  // what lies deeper is dropped while it is read
  };
  const auto may_nest = std::count_if(text.begin(), text.end(), [](char c) {
    return c == '{' || c == '[';
  });
  try {
    Json value = may_nest <= kJsonDepthMax ? Json::parse(text) : Json::parse(text, watch_depth);
    if (is_too_deep) {
      return fail(Errc::invalid_argument,
                  fmt::format("JSON is nested deeper than {} levels", kJsonDepthMax));
    }
    return value;
  } catch (const Json::exception& e) {
    return fail(Errc::invalid_argument, without_tag(e.what()));
  }
}

std::string dump_json(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string dump_json_short(const Json& value) {
  constexpr std::size_t kBytesMax = 80;
  const std::string text = dump_json(value);
  if (text.size() <= kBytesMax) return text;
  return std::string(cut_utf8(text, kBytesMax)) + "...";
}

}  // namespace ponder::tools
