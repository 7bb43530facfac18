#include "runtime/model/tool_grammar.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "base/assert.h"
#include "context/json.h"

namespace ponder::runtime {
namespace {

using context::Json;
using engine::GrammarBuilder;
using engine::JsonType;
using engine::RuleId;

constexpr std::uint32_t kCallsMax = 16;
constexpr std::size_t kMembersMax = 63;  // of GrammarBuilder::each_once

std::string join(std::string_view a, std::string_view b, std::string_view c) {
  return std::string(a).append(b).append(c);
}

JsonType json_type(std::string_view name) {
  if (name == "object") return JsonType::object;
  if (name == "array") return JsonType::array;
  if (name == "number") return JsonType::number;
  if (name == "integer") return JsonType::integer;
  if (name == "boolean") return JsonType::boolean;
  if (name == "null") return JsonType::null;
  return JsonType::any;
}

class ToolGrammar {
 public:
  ToolGrammar(const context::ChatFormat& format, const std::vector<LiveValues>& live)
      : format_(format),
        live_(live),
        forbidden_{join("<", format.marker, ""), join("</", format.marker, "")} {
    // Spelled in a value, these could be the tokens that structure a conversation.
    for (const auto control : {format.bos, format.eos, format.user, format.assistant,
                               format.think_open, format.think_close})
      forbidden_.emplace_back(control);
  }

  Result<std::shared_ptr<const engine::Grammar>> build(
      const std::vector<context::ToolSpec>& tools) {
    std::vector<RuleId> invokes;
    for (const context::ToolSpec& tool : tools) {
      PONDER_TRY(const RuleId rule, invoke(tool));
      invokes.push_back(rule);
    }
    // The trigger ends with the marker: what must follow keeps a misspelled opening from happening.
    const std::size_t marker_at = format_.calls_open.find(format_.marker);
    PONDER_ASSERT(marker_at != std::string_view::npos && marker_at > 0);
    const std::string trigger =
        join(format_.calls_open.substr(marker_at - 1, 1), format_.marker, "");
    const std::string_view opening = format_.calls_open.substr(marker_at + format_.marker.size());
    const RuleId calls =
        builder_.repeat(builder_.choice(invokes), literal(format_.calls_separator), 1, kCallsMax);
    const RuleId block = builder_.sequence({literal(opening), calls, literal(format_.calls_close)});
    return builder_.compile(trigger, block);
  }

 private:
  RuleId literal(std::string_view text) { return builder_.literal(std::string(text)); }

  Status check_name(const std::string& name) const {
    const bool is_clean = !name.empty() && name.find_first_of("\"\n") == std::string::npos &&
                          name.find(format_.marker) == std::string::npos;
    if (is_clean) return {};
    return fail(Errc::invalid_argument,
                fmt::format("the name \"{}\" cannot stand in a tool call", name));
  }

  Result<RuleId> invoke(const context::ToolSpec& tool) {
    PONDER_CHECK(check_name(tool.name));
    const auto schema = context::parse_json(tool.parameters);
    if (!schema || !schema->is_object()) {
      return fail(Errc::invalid_argument,
                  fmt::format("the parameters of {} are no JSON object", tool.name));
    }
    PONDER_TRY(const RuleId arguments, parameters(tool.name, *schema));
    const RuleId head =
        builder_.literal(join(format_.invoke_open, tool.name, format_.invoke_name_close));
    return builder_.sequence({head, arguments, literal(format_.invoke_close)});
  }

  Result<RuleId> parameters(const std::string& tool, const Json& schema) {
    const Json* properties = schema.find("properties");
    const bool has_any =
        properties != nullptr && properties->is_object() && !properties->as_object()->empty();
    if (!has_any) return builder_.literal("");
    if (properties->as_object()->size() > kMembersMax) {
      return fail(Errc::invalid_argument,
                  fmt::format("{} has more than {} parameters", tool, kMembersMax));
    }
    std::vector<GrammarBuilder::Member> members;
    for (const auto& [name, property] : *properties->as_object()) {
      PONDER_CHECK(check_name(name));
      members.push_back({parameter(tool, name, property), is_required(schema, name)});
    }
    return builder_.each_once(std::move(members), literal(format_.param_separator));
  }

  static bool is_required(const Json& schema, const std::string& name) {
    const Json* required = schema.find("required");
    if (required == nullptr || !required->is_array()) return false;
    const auto& names = *required->as_array();
    return std::any_of(names.begin(), names.end(), [&](const Json& entry) {
      return entry.as_string() != nullptr && *entry.as_string() == name;
    });
  }

  RuleId parameter(const std::string& tool, const std::string& name, const Json& property) {
    const RuleId head = builder_.literal(join(format_.param_open, name, ""));
    for (const LiveValues& live : live_) {
      if (live.tool != tool || live.parameter != name) continue;
      std::vector<std::string> values = live.values;
      std::erase_if(values, [this](const std::string& text) { return has_markup(text); });
      if (values.empty()) break;
      const RuleId one = listed(format_.param_name_close_string, std::move(values));
      return builder_.sequence({head, one});
    }
    return builder_.sequence({head, value(property)});
  }

  bool has_markup(const std::string& text) const {
    return std::any_of(forbidden_.begin(), forbidden_.end(), [&](const std::string& markup) {
      return text.find(markup) != std::string::npos;
    });
  }

  /// From the end of the parameter's name to the end of its tag. Holds a value to its type, or one
  /// of several, and to listed values; what else the schema says is checked when the call is made.
  RuleId value(const Json& property) {
    const Json* fixed = property.find("const");
    if (fixed != nullptr) return enumerated({*fixed});
    const Json* options = property.find("enum");
    if (options != nullptr && options->is_array() && !options->as_array()->empty()) {
      return enumerated(*options->as_array());
    }
    const Json* type = property.find("type");
    if (type == nullptr) return any_branch(property);
    if (type->as_string() != nullptr) return typed_value(*type->as_string());
    return type->is_array() && !type->as_array()->empty() ? any_type(*type->as_array())
                                                          : any_value();
  }

  RuleId any_value() { return builder_.choice({string_value(), json_value(JsonType::any)}); }

  RuleId typed_value(const std::string& name) {
    return name == "string" ? string_value() : json_value(json_type(name));
  }

  /// Of a list of names, as ["string", "null"].
  RuleId any_type(const Json::Array& names) {
    std::vector<RuleId> kinds;
    for (const Json& name : names) {
      if (name.as_string() == nullptr) return any_value();
      kinds.push_back(typed_value(*name.as_string()));
    }
    return builder_.choice(std::move(kinds));
  }

  /// Of a schema without a type of its own: anyOf or oneOf, as many tools say that null will do.
  RuleId any_branch(const Json& property) {
    for (const char* key : {"anyOf", "oneOf"}) {
      const Json* branches = property.find(key);
      if (branches == nullptr || !branches->is_array() || branches->as_array()->empty()) continue;
      std::vector<RuleId> kinds;
      for (const Json& branch : *branches->as_array()) kinds.push_back(value(branch));
      return builder_.choice(std::move(kinds));
    }
    return any_value();
  }

  RuleId enumerated(const Json::Array& options) {
    std::vector<std::string> strings;
    std::vector<std::string> others;
    for (const Json& option : options) {
      const std::string* text = option.as_string();
      if (text != nullptr) strings.push_back(*text);
      if (text == nullptr) others.push_back(context::print_json(option));
    }
    std::vector<RuleId> kinds;
    if (!strings.empty()) kinds.push_back(listed(format_.param_name_close_string, strings));
    if (!others.empty()) kinds.push_back(listed(format_.param_name_close_json, others));
    return builder_.choice(kinds);
  }

  RuleId listed(std::string_view opening, std::vector<std::string> values) {
    const RuleId value = builder_.one_of(std::move(values));
    return builder_.sequence({literal(opening), value, literal(format_.param_close)});
  }

  RuleId string_value() {
    const RuleId text = builder_.text_until(std::string(format_.param_close), forbidden_);
    return builder_.sequence({literal(format_.param_name_close_string), text});
  }

  RuleId json_value(JsonType type) {
    const RuleId json = builder_.json_value(type, forbidden_);
    return builder_.sequence(
        {literal(format_.param_name_close_json), json, literal(format_.param_close)});
  }

  const context::ChatFormat& format_;
  const std::vector<LiveValues>& live_;
  std::vector<std::string> forbidden_;
  GrammarBuilder builder_;
};

}  // namespace

Result<std::shared_ptr<const engine::Grammar>> tool_grammar(
    const std::vector<context::ToolSpec>& tools, const context::ChatFormat& format,
    const std::vector<LiveValues>& live) {
  PONDER_ASSERT(!tools.empty());
  return ToolGrammar(format, live).build(tools);
}

}  // namespace ponder::runtime
