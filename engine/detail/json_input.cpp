#include "engine/detail/json_input.h"

#include <fmt/format.h>

#include <exception>
#include <nlohmann/json.hpp>

#include "base/json_problem.h"

namespace ponder::engine::detail {

Status check_json_depth(std::string_view text) {
  std::size_t depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      if (++depth > kJsonDepthMax) {
        return fail(Errc::corrupt, fmt::format("JSON nested deeper than {} levels", kJsonDepthMax));
      }
    } else if ((c == '}' || c == ']') && depth > 0) {
      --depth;
    }
  }
  return {};
}

namespace {

JsonEvent event_of(nlohmann::json::parse_event_t event) {
  using Event = nlohmann::json::parse_event_t;
  switch (event) {
    case Event::key:
      return JsonEvent::key;
    case Event::array_start:
      return JsonEvent::array_start;
    case Event::array_end:
      return JsonEvent::array_end;
    case Event::object_start:
      return JsonEvent::object_start;
    case Event::object_end:
      return JsonEvent::object_end;
    case Event::value:
      break;
  }
  return JsonEvent::value;
}

}  // namespace

Result<nlohmann::json> parse_json(std::string_view text, const JsonFilter& filter) {
  PONDER_CHECK(check_json_depth(text));
  nlohmann::json::parser_callback_t callback;
  if (filter) {
    callback = [&](int depth, nlohmann::json::parse_event_t event, nlohmann::json& item) {
      return filter(static_cast<std::size_t>(depth), event_of(event), item);
    };
  }
  try {
    return nlohmann::json::parse(text.begin(), text.end(), callback);
  } catch (const nlohmann::json::parse_error& e) {
    return fail(Errc::corrupt, fmt::format("damaged JSON at byte {}", e.byte));
  } catch (const std::exception& e) {
    return fail(Errc::corrupt, json_problem(e));
  }
}

std::string brief(const nlohmann::json& value) {
  constexpr std::size_t kBytesMax = 60;
  if (value.is_object()) return fmt::format("an object of {} keys", value.size());
  if (value.is_array() && value.size() > 8) return fmt::format("a list of {}", value.size());
  std::string text = value.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
  if (text.size() > kBytesMax) text = text.substr(0, kBytesMax) + "...";
  return text;
}

}  // namespace ponder::engine::detail
