#include "tools/script/detail/argument_cases.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <utility>

namespace ponder::tools {
namespace {

constexpr int kDepthMax = 6;
constexpr std::size_t kCasesMax = 200;
constexpr std::size_t kLongText = 10'000;
constexpr std::int64_t kCountMax = 1000;  // of letters and items, where a schema asks for many

/// The schema's own type; of several the first.
std::string type_of(const Json& schema) {
  const Json type = schema.is_object() ? schema.value("type", Json()) : Json();
  if (type.is_string()) return type.get<std::string>();
  if (type.is_array() && !type.empty() && type[0].is_string()) return type[0].get<std::string>();
  return schema.is_object() && schema.contains("properties") ? "object" : "";
}

double number_of(const Json& schema, const char* key, double otherwise) {
  const auto found = schema.find(key);
  return found != schema.end() && found->is_number() ? found->get<double>() : otherwise;
}

std::int64_t count_of(const Json& schema, const char* key) {
  return static_cast<std::int64_t>(
      std::clamp(number_of(schema, key, 0), 0.0, static_cast<double>(kCountMax)));
}

Json whole_or_not(const std::string& type, double value) {
  if (type != "integer") return value;
  constexpr double kWholeMax = 9007199254740992.0 * 512;  // 2^62, which an int64 holds
  return static_cast<std::int64_t>(std::clamp(value, -kWholeMax, kWholeMax));
}

Json typical_object(const Json& schema, int depth, bool has_all) {
  Json out = Json::object();
  const Json properties = schema.value("properties", Json::object());
  const Json required = schema.value("required", Json::array());
  for (const auto& [name, property] : properties.items()) {
    const bool is_required = std::find(required.begin(), required.end(), name) != required.end();
    if (has_all || is_required) out[name] = typical_value(property, depth + 1);
  }
  return out;
}

/// The ends of what a value can be, with the way to say so.
std::vector<ArgumentCase> boundary_values(const Json& schema) {
  const std::string type = type_of(schema);
  std::vector<ArgumentCase> out;
  if (schema.is_object() && schema.contains("enum") && schema["enum"].is_array()) {
    for (const Json& value : schema["enum"]) out.push_back({"", value});
    out.push_back({"", "none of these"});
  } else if (type == "string") {
    for (const char* text : {"", " ", "\n", "ä€漢字🙂", "'; DROP TABLE x; --", "../../etc/passwd",
                             "%s%n", "\"\\", "<script>"}) {
      out.push_back({"", text});
    }
    out.push_back({fmt::format("a text of {} bytes", kLongText), std::string(kLongText, 'x')});
  } else if (type == "integer" || type == "number") {
    for (const double value :
         {0.0, -1.0, 1.0, 9007199254740993.0, -9007199254740993.0, number_of(schema, "minimum", 0),
          number_of(schema, "maximum", 1), number_of(schema, "minimum", 0) - 1,
          number_of(schema, "maximum", 1) + 1}) {
      out.push_back({"", whole_or_not(type, value)});
    }
    if (type == "number") out.push_back({"", 0.5});
    if (type == "number") out.push_back({"", 1e300});
  } else if (type == "boolean") {
    out = {{"", true}, {"", false}};
  } else if (type == "array") {
    const Json item = typical_value(schema.value("items", Json::object()), 1);
    out.push_back({"", Json::array()});
    out.push_back({"", Json::array({item})});
    out.push_back({"100 items", Json(100, item)});
  } else if (type == "object") {
    out = {{"", Json::object()}, {"", typical_object(schema, 1, true)}};
  }
  return out;
}

}  // namespace

Json typical_value(const Json& schema, int depth) {
  if (!schema.is_object() || depth > kDepthMax) return "text";
  for (const char* key : {"const", "default"}) {
    if (schema.contains(key)) return schema[key];
  }
  for (const char* key : {"examples", "enum"}) {
    const bool has_values = schema.contains(key) && schema[key].is_array() && !schema[key].empty();
    if (has_values) return schema[key][0];
  }
  const std::string type = type_of(schema);
  if (type == "object") return typical_object(schema, depth, true);
  if (type == "boolean") return true;
  if (type == "null") return nullptr;
  if (type == "integer" || type == "number") {
    const double low = number_of(schema, "exclusiveMinimum", number_of(schema, "minimum", 1) - 1);
    return whole_or_not(type, std::min(low + 1, number_of(schema, "maximum", low + 1)));
  }
  if (type == "array") {
    // Lists in lists multiply: only the outermost has as many items as its schema asks for.
    const std::int64_t count_max = depth > 1 ? 1 : kCountMax;
    const auto count = static_cast<std::size_t>(
        std::clamp<std::int64_t>(count_of(schema, "minItems"), 1, count_max));
    return Json(count, typical_value(schema.value("items", Json::object()), depth + 1));
  }
  if (schema.value("format", "") == "date") return "2025-10-01";
  if (schema.value("format", "") == "date-time") return "2025-10-01T08:30:00Z";
  std::string text = "text";
  text.resize(
      std::max<std::size_t>(text.size(), static_cast<std::size_t>(count_of(schema, "minLength"))),
      'x');
  return text;
}

std::vector<ArgumentCase> argument_cases(const Json& schema, const Json& base) {
  std::vector<ArgumentCase> out;
  out.push_back({"the parameters that are required", typical_object(schema, 0, false)});
  out.push_back({"all parameters", typical_object(schema, 0, true)});
  const Json properties = schema.value("properties", Json::object());
  for (const auto& [name, property] : properties.items()) {
    for (ArgumentCase& boundary : boundary_values(property)) {
      if (out.size() == kCasesMax) return out;
      Json arguments = base;
      const std::string what =
          boundary.title.empty() ? dump_json_short(boundary.arguments) : boundary.title;
      arguments[name] = std::move(boundary.arguments);
      out.push_back({fmt::format("{} = {}", name, what), std::move(arguments)});
    }
  }
  return out;
}

}  // namespace ponder::tools
