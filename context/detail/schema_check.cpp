#include "context/detail/schema_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "context/detail/schema_types.h"

namespace ponder::context::detail {
namespace {

std::string describe(const Json& value) {
  const std::string text = print_json(value);
  constexpr std::size_t kShownBytesMax = 80;
  return text.size() <= kShownBytesMax ? text : show(text);
}

std::optional<std::string> find_enum_fault(const Json& schema, const Json& value,
                                           const std::string& path) {
  const Json* values = schema.find("enum");
  if (values == nullptr || !values->is_array()) return std::nullopt;
  const Json::Array& allowed = *values->as_array();
  if (std::find(allowed.begin(), allowed.end(), value) != allowed.end()) return std::nullopt;
  // 1 and 1.0 are the same number to a schema, two values here: leave that to the tool.
  if (value.is_number()) return std::nullopt;
  std::vector<std::string> choices;
  for (const Json& choice : allowed) choices.push_back(describe(choice));
  return fmt::format("parameter {}: expected one of {}, got {}", show(path),
                     fmt::join(choices, ", "), describe(value));
}

std::optional<std::string> find_member_fault(const Json& schema, const Json& value,
                                             const std::string& path) {
  for (const std::string& name : required_names(schema)) {
    if (value.find(name) != nullptr) continue;
    return fmt::format("parameter {}: is missing", show(fmt::format("{}.{}", path, name)));
  }
  for (const auto& [key, member] : *value.as_object()) {
    const std::string member_path = fmt::format("{}.{}", path, key);
    if (const Json* member_schema = property_schema(schema, key)) {
      if (auto fault = find_schema_fault(*member_schema, member, member_path)) return fault;
    } else if (!allows_additional(schema)) {
      return fmt::format("parameter {}: is not known, there are: {}", show(member_path),
                         declared_names(schema));
    }
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::string> find_schema_fault(const Json& schema, const Json& value,
                                             const std::string& path) {
  if (!schema.is_object()) return std::nullopt;
  const SchemaTypes types(&schema);
  if (!types.accepts(value)) {
    return fmt::format("parameter {}: expected {}, got {}", show(path), types.names(),
                       describe(value));
  }
  if (auto fault = find_enum_fault(schema, value, path)) return fault;
  if (value.is_object()) return find_member_fault(schema, value, path);
  const Json* items = schema.find("items");
  const Json::Array* values = value.as_array();
  if (items == nullptr || values == nullptr) return std::nullopt;
  for (std::size_t i = 0; i < values->size(); ++i) {
    if (auto fault = find_schema_fault(*items, (*values)[i], fmt::format("{}[{}]", path, i))) {
      return fault;
    }
  }
  return std::nullopt;
}

}  // namespace ponder::context::detail
