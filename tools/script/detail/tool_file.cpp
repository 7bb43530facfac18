#include "tools/script/detail/tool_file.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <initializer_list>
#include <string_view>
#include <tuple>
#include <utility>

#include "base/text.h"
#include "tools/json_schema.h"
#include "tools/lua/json_convert.h"
#include "tools/lua/sandbox.h"
#include "tools/lua/state.h"
#include "tools/registry.h"
#include "tools/schema_faults.h"
#include "tools/script/grants.h"

namespace ponder::tools {
namespace {

constexpr std::size_t kMemoryBytes = 32 << 20;
constexpr std::int64_t kInstructions = 10'000'000;
constexpr std::chrono::seconds kTime{5};
constexpr std::size_t kDescriptionBytesMax = 16 << 10;
constexpr const char* kFields[] = {"name",         "description", "parameters", "effect",
                                   "capabilities", "examples",    "run"};

bool is_word_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/// Where `key` is set (`key =` or `["key"] =`), at or after `from`; npos when nowhere.
std::size_t find_key(std::string_view text, std::string_view key, std::size_t from) {
  for (std::size_t at = text.find(key, from); at != text.npos; at = text.find(key, at + 1)) {
    std::size_t end = at + key.size();
    if (at > 0 && is_word_character(text[at - 1])) continue;
    while (end < text.size() && std::string_view(" \t\"']").find(text[end]) != text.npos) ++end;
    const bool is_set = end < text.size() && text[end] == '=' && text.substr(end, 2) != "==";
    if (is_set) return at;
  }
  return text.npos;
}

/// The line on which the last of the nested keys is set, as far as they are found one in the other.
int line_of(std::string_view text, std::initializer_list<std::string_view> keys) {
  std::size_t found = text.npos;
  for (const std::string_view key : keys) {
    const std::size_t at = find_key(text, key, found == text.npos ? 0 : found + 1);
    if (at == text.npos) break;
    found = at;
  }
  if (found == text.npos) return 0;
  return 1 + static_cast<int>(std::count(text.begin(), text.begin() + found, '\n'));
}

/// Leaves the fields of the script's table that are data in a new one, and on top whether `run` is
/// a function and the first field that is not known. Raises; holds nothing with a destructor.
int pick_fields(lua_State* L) {
  lua_settop(L, 0);
  if (lua_getfield(L, LUA_REGISTRYINDEX, lua::kEnvironmentKey) != LUA_TTABLE) {
    return luaL_error(L, "the file returns a %s, not the table of a tool", luaL_typename(L, 1));
  }
  lua_newtable(L);
  for (const char* field : kFields) {
    lua_pushstring(L, field);
    const bool is_run = lua_rawget(L, 1) == LUA_TFUNCTION && std::string_view(field) == "run";
    if (is_run) {
      lua_pop(L, 1);
      lua_pushboolean(L, 1);
    }
    lua_setfield(L, 2, field);
  }
  lua_newtable(L);
  lua_Integer count = 0;
  for (lua_pushnil(L); lua_next(L, 1) != 0; lua_pop(L, 1)) {
    bool is_known = false;
    for (const char* field : kFields) {
      is_known = is_known ||
                 (lua_type(L, -2) == LUA_TSTRING && std::string_view(lua_tostring(L, -2)) == field);
    }
    if (is_known) continue;
    if (lua_type(L, -2) == LUA_TSTRING) {
      lua_pushvalue(L, -2);
    } else {
      lua_pushfstring(L, "[%s]", luaL_typename(L, -2));
    }
    lua_rawseti(L, 3, ++count);
  }
  lua_setfield(L, 2, "unknown");
  return 1;
}

/// An empty table of Lua is an object and a list. Where a schema has a list, it is one.
void mend_lists(Json& schema) {
  constexpr std::array<std::string_view, 8> kLists = {
      "required", "enum", "allOf", "anyOf", "oneOf", "type", "prefixItems", "examples"};
  if (!schema.is_structured()) return;
  for (auto it = schema.begin(); it != schema.end(); ++it) {
    const bool is_list =
        schema.is_object() && std::find(kLists.begin(), kLists.end(), it.key()) != kLists.end();
    if (is_list && it->is_object() && it->empty()) *it = Json::array();
    mend_lists(*it);
  }
}

/// Checks the fields one by one and gathers what is wrong.
class Checker {
 public:
  Checker(const std::string& text, const Json& fields) : text_(text), fields_(fields) {}

  ScriptFile run() && {
    check_name();
    check_description();
    check_parameters();
    check_effect();
    check_capabilities();
    check_examples();
    if (fields_.value("run", Json()) != true) fault({"run"}, "run must be a function(args, ctx)");
    if (fields_.contains("unknown")) check_unknown(fields_["unknown"]);
    std::sort(file_.faults.begin(), file_.faults.end(), [](const auto& a, const auto& b) {
      return std::tie(a.line, a.message) < std::tie(b.line, b.message);
    });
    if (file_.faults.empty()) file_.declaration = std::move(out_);
    return std::move(file_);
  }

 private:
  void fault(std::initializer_list<std::string_view> keys, std::string message) {
    file_.faults.push_back({line_of(text_, keys), std::move(message)});
  }
  Json field(const char* name) const { return fields_.value(name, Json()); }

  void check_name() {
    const Json name = field("name");
    if (!name.is_string()) return fault({"name"}, "name must be a string");
    out_.spec.name = name.get<std::string>();
    const Status status = check_tool_name(out_.spec.name);
    if (!status) fault({"name"}, "name: " + status.error().message);
  }

  void check_description() {
    const Json description = field("description");
    const std::string text = description.is_string() ? description.get<std::string>() : "";
    if (text.empty()) {
      return fault({"description"}, "description must say what the tool does; the model reads it");
    }
    if (clean_utf8(text) != text) return fault({"description"}, "description is no UTF-8");
    if (text.size() > kDescriptionBytesMax) {
      return fault({"description"}, fmt::format("description is over the limit of {} KiB",
                                                kDescriptionBytesMax >> 10));
    }
    out_.spec.description = text;
  }

  void check_parameters() {
    Json parameters = field("parameters");
    if (parameters.is_null()) parameters = Json{{"type", "object"}};
    if (!parameters.is_object() && !parameters.is_string()) {
      return fault({"parameters"}, "parameters must be a table or the text of a JSON Schema");
    }
    mend_lists(parameters);
    out_.spec.parameters =
        parameters.is_string() ? parameters.get<std::string>() : dump_json(parameters);
    const auto faults = schema_faults(out_.spec.parameters);
    for (const SchemaFault& each : faults) schema_fault(each);
    if (!faults.empty()) return;
    const auto parsed = parse_json(out_.spec.parameters);
    if (parsed && parsed->value("type", "") != "object") {
      fault({"parameters"}, "parameters: the type must be \"object\": arguments have names");
    }
  }

  /// What is wrong at #/properties/city/type stands on the line of that "type".
  void schema_fault(const SchemaFault& fault) {
    std::size_t place = find_key(text_, "parameters", 0);
    if (place == text_.npos) place = 0;
    const std::string& path = fault.path;
    for (std::size_t at = path.find('/'); at < path.size();) {
      const std::size_t next = std::min(path.find('/', at + 1), path.size());
      const std::size_t found = find_key(text_, path.substr(at + 1, next - at - 1), place);
      if (found != text_.npos) place = found;
      at = next;
    }
    const auto line = 1 + std::count(text_.begin(), text_.begin() + static_cast<long>(place), '\n');
    file_.faults.push_back(
        {static_cast<int>(line), fmt::format("parameters: schema at {}: {}", path, fault.what)});
  }

  void check_effect() {
    const Json effect = field("effect");
    if (!effect.is_string()) {
      return fault({"effect"},
                   "effect must be one of: pure, idempotent, compensable, irreversible");
    }
    auto named = effect_named(effect.get<std::string>());
    if (!named) return fault({"effect"}, "effect: " + named.error().message);
    out_.effect = *named;
  }

  void check_capabilities() {
    const Json capabilities = field("capabilities");
    const bool is_empty =
        capabilities.is_null() || (capabilities.is_object() && capabilities.empty());
    if (is_empty) return;
    if (!capabilities.is_array()) {
      return fault({"capabilities"}, "capabilities must be a list of strings");
    }
    for (const Json& capability : capabilities) {
      const std::string name = capability.is_string() ? capability.get<std::string>() : "";
      const Status status = check_capability(name);
      if (!status) fault({"capabilities"}, "capabilities: " + status.error().message);
      out_.capabilities.push_back(name);
    }
  }

  void check_examples() {
    const Json examples = field("examples");
    const bool is_empty = examples.is_null() || (examples.is_object() && examples.empty());
    if (is_empty) return;
    if (!examples.is_array()) return fault({"examples"}, "examples must be a list");
    const auto schema = JsonSchema::compile(out_.spec.parameters);
    for (std::size_t i = 0; i < examples.size(); ++i) {
      const std::string where = fmt::format("example {}", i + 1);
      if (!examples[i].is_object()) return fault({"examples"}, where + " is no table");
      for (const auto& [key, value] : examples[i].items()) {
        const bool is_known =
            key == "args" || key == "expect" || key == "expect_error" || key == "answers";
        if (!is_known) fault({"examples", key}, fmt::format("{}: unknown field '{}'", where, key));
      }
      const Json args = examples[i].value("args", Json::object());
      const Status fits = schema ? schema->check(dump_json(args)) : Status();
      if (!fits) fault({"examples", "args"}, where + ": " + fits.error().message);
    }
    out_.examples = examples;
  }

  void check_unknown(const Json& names) {
    for (const Json& name : names.is_array() ? names : Json::array()) {
      const auto text = name.get<std::string>();
      fault({text},
            fmt::format("there is no field '{}', there are: {}", text, fmt::join(kFields, ", ")));
    }
  }

  const std::string& text_;
  const Json& fields_;
  ScriptDeclaration out_;
  ScriptFile file_;
};

/// Takes "weather.lua:3: " off the front of a message of Lua, as a line.
FileFault lua_fault(std::string message, const std::string& file_name) {
  FileFault fault;
  if (message.starts_with(file_name + ":")) {
    const char* begin = message.data() + file_name.size() + 1;
    const auto [end, error] = std::from_chars(begin, message.data() + message.size(), fault.line);
    const bool has_line = error == std::errc() && std::string_view(end).starts_with(": ");
    if (has_line) message = std::string(end + 2);
  }
  fault.message = std::move(message);
  return fault;
}

Result<Json> read_fields(const std::string& text, const std::string& file_name,
                         const Clock& clock) {
  if (text.size() > kScriptBytesMax) {
    return fail(Errc::exhausted, fmt::format("the file is over {} KiB", kScriptBytesMax >> 10));
  }
  PONDER_TRY(auto state, lua::State::create(kMemoryBytes, clock));
  const lua::Budget budget(kInstructions, Deadline::after(clock, kTime), nullptr);
  PONDER_CHECK(lua::load_script(*state, text, file_name, budget));
  PONDER_CHECK(state->call(pick_fields, nullptr, 1, budget));
  return lua::to_json(state->raw(), -1);
}

}  // namespace

bool ScriptDeclaration::is_same_tool(const ScriptDeclaration& other) const {
  return spec.name == other.spec.name && spec.description == other.spec.description &&
         spec.parameters == other.spec.parameters && effect == other.effect &&
         capabilities == other.capabilities;
}

ScriptFile read_script(const std::string& text, const std::string& file_name, const Clock& clock) {
  const auto fields = read_fields(text, file_name, clock);
  if (fields) return Checker(text, *fields).run();
  ScriptFile file;
  file.faults.push_back(lua_fault(fields.error().message, file_name));
  return file;
}

std::string describe_faults(const std::vector<FileFault>& faults, const std::string& file_name) {
  std::vector<std::string> lines;
  for (const FileFault& fault : faults) {
    lines.push_back(fault.line == 0
                        ? fmt::format("{}: {}", file_name, fault.message)
                        : fmt::format("{}:{}: {}", file_name, fault.line, fault.message));
  }
  return fmt::format("{}", fmt::join(lines, "\n"));
}

}  // namespace ponder::tools
