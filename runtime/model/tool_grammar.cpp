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
// Schemas come from tools of others: alternatives that refer to themselves must come to an end.
constexpr std::size_t kSubschemasMax = 256;

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

/// The part of `root` that a reference such as `#/$defs/city` means; null if there is none.
const Json* referred(const Json& root, std::string_view reference) {
  if (!reference.starts_with("#/")) return nullptr;
  const Json* at = &root;
  for (reference.remove_prefix(2); at != nullptr;) {
    const std::size_t end = reference.find('/');
    at = at->find(reference.substr(0, end));
    if (end == std::string_view::npos) return at;
    reference.remove_prefix(end + 1);
  }
  return nullptr;
}

/// What a parameter's schema says about the value as a whole: all that any of its alternatives
/// (`type`, `enum`, `const`, `anyOf`, `oneOf`, a `$ref` into the same schema) may be.
class ValueKinds {
 public:
  ValueKinds(const Json& root, const Json& schema) : root_(root) { add(schema); }

  bool is_any = false;  // some alternative leaves it open
  bool has_string = false;
  std::vector<JsonType> types;       // but for strings
  std::vector<std::string> strings;  // listed ones
  std::vector<std::string> others;   // JSON texts of listed values

 private:
  void add(const Json& schema) {
    if (++num_seen_ > kSubschemasMax || is_any) {
      is_any = true;
    } else if (const Json* value = schema.find("const"); value != nullptr) {
      add_value(*value);
    } else if (const Json* listed = schema.find("enum"); has_items(listed)) {
      for (const Json& value : *listed->as_array()) add_value(value);
    } else if (const Json* type = schema.find("type"); type != nullptr) {
      add_types(*type);
    } else if (const Json* some = alternatives(schema); some != nullptr) {
      for (const Json& alternative : *some->as_array()) add(alternative);
    } else {
      const Json* reference = schema.find("$ref");
      const Json* target = reference == nullptr || !reference->is_string()
                               ? nullptr
                               : referred(root_, *reference->as_string());
      if (target != nullptr) return add(*target);
      is_any = true;
    }
  }

  static bool has_items(const Json* list) {
    return list != nullptr && list->is_array() && !list->as_array()->empty();
  }

  static const Json* alternatives(const Json& schema) {
    for (const char* key : {"anyOf", "oneOf"}) {
      if (const Json* some = schema.find(key); has_items(some)) return some;
    }
    return nullptr;
  }

  void add_value(const Json& value) {
    const std::string* text = value.as_string();
    if (text != nullptr) strings.push_back(*text);
    if (text == nullptr) others.push_back(context::print_json(value));
  }

  void add_types(const Json& type) {
    if (has_items(&type)) {
      for (const Json& name : *type.as_array()) add_type(name);
    } else {
      add_type(type);
    }
  }

  void add_type(const Json& type) {
    const std::string* name = type.as_string();
    if (name == nullptr) {
      is_any = true;
    } else if (*name == "string") {
      has_string = true;
    } else if (std::ranges::find(types, json_type(*name)) == types.end()) {
      types.push_back(json_type(*name));
    }
  }

  const Json& root_;
  std::size_t num_seen_ = 0;
};

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
      PONDER_TRY(const RuleId rule, parameter(tool, name, schema, property));
      members.push_back({rule, is_required(schema, name)});
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

  Result<RuleId> parameter(const std::string& tool, const std::string& name, const Json& schema,
                           const Json& property) {
    const RuleId head = builder_.literal(join(format_.param_open, name, ""));
    for (const LiveValues& live : live_) {
      if (live.tool != tool || live.parameter != name) continue;
      std::vector<std::string> values = live.values;
      drop_markup(values);
      if (values.empty()) break;
      const RuleId one = listed(format_.param_name_close_string, std::move(values));
      return builder_.sequence({head, one});
    }
    const std::vector<RuleId> kinds = value(ValueKinds(schema, property));
    if (kinds.empty()) {
      return fail(
          Errc::invalid_argument,
          fmt::format("no value of {}'s parameter \"{}\" can stand in a tool call", tool, name));
    }
    return builder_.sequence({head, builder_.choice(kinds)});
  }

  void drop_markup(std::vector<std::string>& values) const {
    std::erase_if(values, [this](const std::string& text) { return has_markup(text); });
  }

  bool has_markup(const std::string& text) const {
    return std::any_of(forbidden_.begin(), forbidden_.end(), [&](const std::string& markup) {
      return text.find(markup) != std::string::npos;
    });
  }

  /// The ways from the end of the parameter's name to the end of its tag.
  std::vector<RuleId> value(ValueKinds kinds) {
    if (kinds.is_any) return {string_value(), json_value(JsonType::any)};
    std::vector<RuleId> ways;
    drop_markup(kinds.strings);
    drop_markup(kinds.others);
    const bool is_listed = !kinds.has_string && !kinds.strings.empty();
    if (is_listed) ways.push_back(listed(format_.param_name_close_string, kinds.strings));
    if (!kinds.others.empty()) ways.push_back(listed(format_.param_name_close_json, kinds.others));
    if (kinds.has_string) ways.push_back(string_value());
    for (const JsonType type : kinds.types) ways.push_back(json_value(type));
    return ways;
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
