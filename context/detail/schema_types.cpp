#include "context/detail/schema_types.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>

#include "base/text.h"

namespace ponder::context::detail {
namespace {

std::string_view type_name(const Json& value) {
  if (value.is_null()) return "null";
  if (value.is_bool()) return "boolean";
  if (value.is_integer()) return "integer";
  if (value.is_number()) return "number";
  if (value.is_string()) return "string";
  return value.is_array() ? "array" : "object";
}

}  // namespace

SchemaTypes::SchemaTypes(const Json* schema) {
  if (schema == nullptr) return;
  if (const Json* type = schema->find("type")) {
    if (const std::string* name = type->as_string()) add(*name);
    if (const Json::Array* names = type->as_array()) {
      for (const Json& name : *names) {
        if (name.is_string()) add(*name.as_string());
      }
    }
    return;
  }
  const Json* values = schema->find("enum");
  if (values == nullptr || !values->is_array()) return;
  for (const Json& value : *values->as_array()) add(type_name(value));
}

void SchemaTypes::add(std::string_view type) {
  is_known_ = true;
  if (has(type)) return;
  types_ += ' ';
  types_ += type;
  types_ += ' ';
}

bool SchemaTypes::has(std::string_view type) const {
  std::string padded(" ");
  padded += type;
  padded += ' ';
  return types_.find(padded) != std::string::npos;
}

bool SchemaTypes::accepts(const Json& value) const {
  if (!is_known_) return true;
  const std::string_view type = type_name(value);
  if (has(type) || (type == "integer" && has("number"))) return true;
  const double* number = value.as_double();
  return number != nullptr && has("integer") && std::trunc(*number) == *number;
}

std::string SchemaTypes::names() const {
  std::string names;
  std::string_view rest = trim(types_);
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find(' '), rest.size());
    const std::string_view name = rest.substr(0, end);
    const bool has_vowel = name == "array" || name == "integer" || name == "object";
    if (!names.empty()) names += " or ";
    if (name != "null") names += has_vowel ? "an " : "a ";
    names += name;
    rest = trim(rest.substr(end));
  }
  return names;
}

const Json* property_schema(const Json& schema, std::string_view name) {
  const Json* properties = schema.find("properties");
  return properties == nullptr ? nullptr : properties->find(name);
}

bool allows_additional(const Json& schema) {
  const Json* additional = schema.find("additionalProperties");
  const bool has_patterns = schema.find("patternProperties") != nullptr;
  return additional == nullptr || *additional != Json(false) || has_patterns;
}

std::string declared_names(const Json& schema) {
  const Json* properties = schema.find("properties");
  std::string names;
  if (properties == nullptr || !properties->is_object()) return names;
  for (const auto& [name, property] : *properties->as_object()) {
    if (!names.empty()) names += ", ";
    names += name;
  }
  return names;
}

std::vector<std::string> required_names(const Json& schema) {
  std::vector<std::string> names;
  const Json* required = schema.find("required");
  if (required == nullptr || !required->is_array()) return names;
  for (const Json& name : *required->as_array()) {
    if (name.is_string()) names.push_back(*name.as_string());
  }
  return names;
}

std::optional<std::string> respell(std::string_view text) {
  text = trim(text);
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (lower == "true" || lower == "false" || lower == "null") return lower;
  if (lower == "none") return "null";
  std::string_view digits = lower;
  const bool is_negative = digits.starts_with('-');
  if (is_negative || digits.starts_with('+')) digits.remove_prefix(1);
  std::string spelled(is_negative ? "-" : "");
  if (digits.starts_with('.')) spelled += '0';
  spelled += digits;
  if (digits.ends_with('.')) spelled += '0';
  const Result<Json> number = parse_json(spelled);
  if (!number || !number->is_number() || spelled == text) return std::nullopt;
  return spelled;
}

std::string show(std::string_view text) {
  constexpr std::size_t kShownBytesMax = 80;
  if (text.size() <= kShownBytesMax) return fmt::format("'{}'", text);
  const std::string_view begin = cut_utf8(text, kShownBytesMax);
  return fmt::format("'{}' and {} bytes more", begin, text.size() - begin.size());
}

std::string_view trim(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const std::size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

}  // namespace ponder::context::detail
