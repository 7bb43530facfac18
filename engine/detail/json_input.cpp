#include "engine/detail/json_input.h"

#include <fmt/format.h>

#include <cstdint>
#include <exception>
#include <nlohmann/json.hpp>
#include <unordered_set>
#include <utility>
#include <vector>

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

using nlohmann::json;

/// Builds the values that the filter leaves. The library's own parser with a callback looks through
/// all siblings whenever a container ends, so its time grows with the square of their number.
class FilteredBuilder final : public nlohmann::json_sax<json> {
 public:
  explicit FilteredBuilder(const JsonFilter& filter) : filter_(filter) {}

  bool null() override { return add(JsonEvent::value, nullptr); }
  bool boolean(bool value) override { return add(JsonEvent::value, value); }
  bool number_integer(std::int64_t value) override { return add(JsonEvent::value, value); }
  bool number_unsigned(std::uint64_t value) override { return add(JsonEvent::value, value); }
  bool number_float(double value, const std::string& /*text*/) override {
    return add(JsonEvent::value, value);
  }
  bool string(std::string& value) override { return add(JsonEvent::value, std::move(value)); }
  bool binary(json::binary_t& /*value*/) override { return false; }  // JSON text has none
  bool start_object(std::size_t /*num_elements*/) override {
    return start(JsonEvent::object_start, json::object());
  }
  bool start_array(std::size_t /*num_elements*/) override {
    return start(JsonEvent::array_start, json::array());
  }
  bool end_object() override { return end(JsonEvent::object_end); }
  bool end_array() override { return end(JsonEvent::array_end); }
  bool key(std::string& name) override {
    json item = name;  // a copy, for the filter may take it
    open_.back().keeps_member = filter_(open_.size(), JsonEvent::key, item);
    open_.back().key = std::move(name);
    return true;
  }
  bool parse_error(std::size_t position, const std::string& /*token*/,
                   const json::exception& error) override {
    const bool is_syntax = dynamic_cast<const json::parse_error*>(&error) != nullptr;
    fault_ = is_syntax ? fmt::format("damaged JSON at byte {}", position) : json_problem(error);
    return false;
  }

  Result<json> take() {
    if (!fault_.empty()) return fail(Errc::corrupt, fault_);
    return std::move(root_);
  }

 private:
  struct Container {
    json value;
    bool is_kept = true;
    std::string key = {};  // of the member that comes next
    bool keeps_member = true;
  };

  bool start(JsonEvent event, json empty) {
    const bool is_kept = filter_(open_.size(), event, empty);
    open_.push_back({std::move(empty), is_kept});
    return true;
  }
  bool end(JsonEvent event) {
    Container ended = std::move(open_.back());
    open_.pop_back();
    return add(event, std::move(ended.value), ended.is_kept);
  }
  bool add(JsonEvent event, json item, bool is_kept = true) {
    if (!filter_(open_.size(), event, item) || !is_kept) return true;
    if (open_.empty()) {
      root_ = std::move(item);
    } else if (open_.back().value.is_array()) {
      open_.back().value.push_back(std::move(item));
    } else if (open_.back().keeps_member) {
      open_.back().value[std::move(open_.back().key)] = std::move(item);
    }
    return true;
  }

  const JsonFilter& filter_;
  std::vector<Container> open_;
  json root_;
  std::string fault_;
};

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
  try {
    if (!filter) return json::parse(text.begin(), text.end());
    FilteredBuilder builder(filter);
    json::sax_parse(text.begin(), text.end(), &builder);
    return builder.take();
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
