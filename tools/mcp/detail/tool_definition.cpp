#include "tools/mcp/detail/tool_definition.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <set>

#include "base/digest.h"
#include "tools/mcp/detail/protocol.h"

namespace ponder::mcp {
namespace {

constexpr std::size_t kNameBytesMax = 64;  // what Registry::add takes
constexpr std::size_t kDefinitionBytesMax = 256 * 1024;
constexpr const char* kHeaderKey = "x-mcp-header";

bool is_token(const std::string& text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 ||
           std::string_view("!#$%&'*+-.^_`|~").find(static_cast<char>(c)) != std::string_view::npos;
  });
}

std::string lower_case(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

/// Finds the annotated parameters of a schema. Only a way that consists of `properties` reaches
/// one; an annotation anywhere else makes the definition invalid.
class HeaderFinder {
 public:
  /// `path` is nothing when the way here was another.
  void visit(const Json& schema, const std::vector<std::string>* path) {
    if (schema.is_array()) {
      for (const Json& entry : schema) visit(entry, nullptr);
    }
    if (!schema.is_object()) return;
    if (schema.contains(kHeaderKey)) take(schema, path);
    for (const auto& [key, value] : schema.items()) {
      if (key == "properties" && value.is_object()) {
        visit_properties(value, path);
      } else if (key != "default" && key != "const" && key != "enum" && key != "examples") {
        visit(value, nullptr);
      }
    }
  }
  std::vector<HeaderParameter> found;
  std::optional<std::string> fault;

 private:
  void visit_properties(const Json& properties, const std::vector<std::string>* path) {
    for (const auto& [name, property] : properties.items()) {
      if (path == nullptr) {
        visit(property, nullptr);
        continue;
      }
      std::vector<std::string> longer = *path;
      longer.push_back(name);
      visit(property, &longer);
    }
  }
  void take(const Json& schema, const std::vector<std::string>* path) {
    const Json& name = schema[kHeaderKey];
    const std::string type = string_field(schema, "type");
    const std::string text = name.is_string() ? name.get<std::string>() : std::string();
    if (!is_token(text)) {
      fault = fmt::format("{} is {}, no header's name", kHeaderKey, dump_json_short(name));
    } else if (path == nullptr || path->empty()) {
      fault = fmt::format("{} '{}' stands where no parameter is", kHeaderKey, text);
    } else if (type != "string" && type != "integer" && type != "boolean") {
      fault = fmt::format("{} '{}' is on a parameter of type '{}'", kHeaderKey, text, type);
    } else if (!names_.insert(lower_case(text)).second) {
      fault = fmt::format("{} '{}' is there twice", kHeaderKey, text);
    } else {
      found.push_back({"Mcp-Param-" + text, *path});
    }
  }
  std::set<std::string> names_;
};

/// What a person approves: all that a model or ponder goes by.
Definition definition_of(const Json& entry) {
  Json kept = Json::object();
  for (const char* key :
       {"name", "title", "description", "inputSchema", "outputSchema", "annotations"}) {
    if (entry.contains(key)) kept[key] = entry[key];
  }
  Definition definition;
  definition.text = dump_json(kept);
  definition.hash = sha256_hex(definition.text);
  return definition;
}

std::optional<std::string> text_of(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_boolean()) return value.get<bool>() ? "true" : "false";
  if (value.is_number_integer()) return value.dump();
  return std::nullopt;
}

}  // namespace

Result<ToolDefinition> read_tool(const Json& entry) {
  ToolDefinition tool;
  tool.name = string_field(entry, "name");
  if (tool.name.empty()) return fail(Errc::invalid_argument, "a tool without a name");
  const Json& schema = object_field(entry, "inputSchema");
  if (schema.empty()) {
    return fail(Errc::invalid_argument,
                fmt::format("tool '{}' has no inputSchema", one_line(tool.name, 100)));
  }
  tool.definition = definition_of(entry);
  if (tool.definition.text.size() > kDefinitionBytesMax) {
    return fail(Errc::invalid_argument,
                fmt::format("tool '{}': its definition has {} bytes", one_line(tool.name, 100),
                            tool.definition.text.size()));
  }
  tool.description = string_field(entry, "description", string_field(entry, "title"));
  tool.input_schema = dump_json(schema);
  const Json& output = object_field(entry, "outputSchema");
  if (!output.empty()) tool.output_schema = dump_json(output);
  const Json& annotations = object_field(entry, "annotations");
  tool.is_read_only = bool_field(annotations, "readOnlyHint", false);
  tool.is_idempotent = bool_field(annotations, "idempotentHint", false);
  HeaderFinder finder;
  const std::vector<std::string> root;
  finder.visit(schema, &root);
  tool.header_parameters = std::move(finder.found);
  tool.header_fault = std::move(finder.fault);
  return tool;
}

std::string agent_tool_name(const std::string& server, const std::string& tool) {
  std::string name = server + "_" + tool;
  for (char& c : name) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '-') c = '_';
  }
  if (name.size() <= kNameBytesMax) return name;
  constexpr std::size_t kDigestLetters = 8;
  const std::string digest = sha256_hex(tool).substr(0, kDigestLetters);
  return name.substr(0, kNameBytesMax - kDigestLetters - 1) + "_" + digest;
}

tools::Effect effect_of(const ToolDefinition& tool, const ServerOptions& options) {
  auto said = options.effects.find(tool.name);
  if (said == options.effects.end()) said = options.effects.find("*");
  if (said != options.effects.end()) return said->second;
  if (options.trusts_hints && tool.is_read_only) return tools::Effect::pure;
  if (options.trusts_hints && tool.is_idempotent) return tools::Effect::idempotent;
  return tools::Effect::irreversible;
}

Headers parameter_headers(const ToolDefinition& tool, const Json& arguments) {
  Headers headers;
  for (const HeaderParameter& parameter : tool.header_parameters) {
    const Json* value = &arguments;
    for (const std::string& key : parameter.path) {
      const bool is_there = value != nullptr && value->is_object() && value->contains(key);
      value = is_there ? &(*value)[key] : nullptr;
    }
    if (value == nullptr) continue;
    const auto text = text_of(*value);
    if (text) headers.emplace_back(parameter.header, header_value(*text));
  }
  return headers;
}

}  // namespace ponder::mcp
