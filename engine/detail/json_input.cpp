#include "engine/detail/json_input.h"

#include <fmt/format.h>

#include <exception>
#include <nlohmann/json.hpp>
#include <unordered_set>
#include <utility>

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

/// Stops the parser at a key that the outermost object has had already.
class KeyNotes final : public nlohmann::json_sax<nlohmann::json> {
 public:
  std::optional<std::string> repeated;

  bool key(string_t& name) override {
    if (depth_ != 1 || names_.insert(name).second) return true;
    repeated = std::move(name);
    return false;
  }
  bool start_object(std::size_t) override { return enter(); }
  bool start_array(std::size_t) override { return enter(); }
  bool end_object() override { return leave(); }
  bool end_array() override { return leave(); }

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool parse_error(std::size_t, const std::string&, const nlohmann::json::exception&) override {
    return false;
  }

 private:
  bool enter() { return ++depth_ > 0; }
  bool leave() {
    --depth_;
    return true;
  }

  std::size_t depth_ = 0;
  std::unordered_set<std::string> names_;
};

}  // namespace

std::optional<std::string> repeated_key(std::string_view text) {
  KeyNotes notes;
  nlohmann::json::sax_parse(text.begin(), text.end(), &notes);
  return std::move(notes.repeated);
}

Result<nlohmann::json> parse_json(std::string_view text, const JsonFilter& filter) {
  if (text.size() > kJsonBytesMax) {
    return fail(Errc::corrupt,
                fmt::format("{} bytes of JSON, at most {}", text.size(), kJsonBytesMax));
  }
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
