#include "tools/json_schema.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "tools/detail/json.h"
#include "tools/detail/schema_checker.h"
#include "tools/schema_faults.h"

namespace ponder::tools {

struct JsonSchema::Compiled {
  SchemaDocument document;
};

namespace {

constexpr std::size_t kFaultsMax = 50;

/// What kind of value a keyword takes.
enum class Shape {
  note,            // describes only
  schema,          // a schema
  schemas,         // a list of schemas, not empty
  named_schemas,   // an object of schemas
  named_patterns,  // the same, where the names are patterns
  name_lists,      // an object of lists of strings
  types,           // a type's name or a list of them
  values,          // a list
  names,           // a list of strings
  count,           // an integer from 0
  number,
  factor,  // a number over 0
  flag,
  pattern,
  reference,
};

const std::map<std::string, Shape, std::less<>>& keywords() {
  static const std::map<std::string, Shape, std::less<>> table = {
      {"$anchor", Shape::note},
      {"$comment", Shape::note},
      {"$defs", Shape::named_schemas},
      {"$id", Shape::note},
      {"$ref", Shape::reference},
      {"$schema", Shape::note},
      {"additionalProperties", Shape::schema},
      {"allOf", Shape::schemas},
      {"anyOf", Shape::schemas},
      {"const", Shape::note},
      {"contains", Shape::schema},
      {"contentEncoding", Shape::note},
      {"contentMediaType", Shape::note},
      {"default", Shape::note},
      {"definitions", Shape::named_schemas},
      {"dependentRequired", Shape::name_lists},
      {"deprecated", Shape::note},
      {"description", Shape::note},
      {"else", Shape::schema},
      {"enum", Shape::values},
      {"examples", Shape::note},
      {"exclusiveMaximum", Shape::number},
      {"exclusiveMinimum", Shape::number},
      {"format", Shape::note},
      {"if", Shape::schema},
      {"items", Shape::schema},
      {"maxContains", Shape::count},
      {"maxItems", Shape::count},
      {"maxLength", Shape::count},
      {"maxProperties", Shape::count},
      {"maximum", Shape::number},
      {"minContains", Shape::count},
      {"minItems", Shape::count},
      {"minLength", Shape::count},
      {"minProperties", Shape::count},
      {"minimum", Shape::number},
      {"multipleOf", Shape::factor},
      {"not", Shape::schema},
      {"oneOf", Shape::schemas},
      {"pattern", Shape::pattern},
      {"patternProperties", Shape::named_patterns},
      {"prefixItems", Shape::schemas},
      {"properties", Shape::named_schemas},
      {"propertyNames", Shape::schema},
      {"readOnly", Shape::note},
      {"required", Shape::names},
      {"then", Shape::schema},
      {"title", Shape::note},
      {"type", Shape::types},
      {"uniqueItems", Shape::flag},
      {"writeOnly", Shape::note},
  };
  return table;
}

/// Restrict in drafts that we know of, in ways that we do not check.
const std::set<std::string, std::less<>>& refused() {
  static const std::set<std::string, std::less<>> names = {
      "$dynamicRef",          "$recursiveRef",    "additionalItems",
      "dependencies",         "dependentSchemas", "disallow",
      "divisibleBy",          "extends",          "unevaluatedItems",
      "unevaluatedProperties"};
  return names;
}

bool is_type_name(const Json& value) {
  static const std::set<std::string, std::less<>> names = {"array",  "boolean", "integer", "null",
                                                           "number", "object",  "string"};
  return value.is_string() && names.contains(value.get_ref<const std::string&>());
}

bool is_list_of(const Json& value, bool (*fits)(const Json&)) {
  return value.is_array() && std::all_of(value.begin(), value.end(), fits);
}

bool is_string(const Json& value) { return value.is_string(); }

/// Walks a schema once: every keyword well-formed, every reference resolved, every pattern
/// compiled. Gathers all that is wrong.
class Compiler {
 public:
  explicit Compiler(SchemaDocument& document) : document_(document) {}

  std::vector<SchemaFault> run() && {
    check_schema(document_.root, "#");
    // References form chains as long as the text: they are walked one after the other.
    while (!targets_.empty()) {
      const auto [target, reference] = std::move(targets_.back());
      targets_.pop_back();
      check_schema(*target, reference);
    }
    return std::move(faults_);
  }

 private:
  void bad(const std::string& path, std::string what) {
    // What a reference leads to is met once more where it stands.
    const bool is_known = std::any_of(faults_.begin(), faults_.end(), [&](const SchemaFault& f) {
      return f.path == path && f.what == what;
    });
    if (!is_known && faults_.size() < kFaultsMax) faults_.push_back({path, std::move(what)});
  }

  bool demand(bool holds, const std::string& path, const char* what) {
    if (!holds) bad(path, fmt::format("expected {}", what));
    return holds;
  }

  void check_schema(const Json& schema, const std::string& path) {
    if (schema.is_boolean()) return;
    if (!schema.is_object()) return bad(path, "a schema is an object, true or false");
    for (const auto& [name, value] : schema.items()) {
      const std::string where = fmt::format("{}/{}", path, name);
      const auto known = keywords().find(name);
      if (refused().contains(name)) {
        bad(where, "this keyword is not supported");
      } else if (known != keywords().end()) {  // other vocabularies describe
        check_keyword(known->second, value, where);
      }
    }
  }

  void check_keyword(Shape shape, const Json& value, const std::string& path) {
    switch (shape) {
      case Shape::note:
        return;
      case Shape::schema:
        return check_schema(value, path);
      case Shape::schemas:
        return check_list(value, path);
      case Shape::named_schemas:
      case Shape::named_patterns:
        return check_named(value, path, shape == Shape::named_patterns);
      case Shape::name_lists:
        return check_name_lists(value, path);
      case Shape::types:
        demand(is_type_name(value) || (!value.empty() && is_list_of(value, is_type_name)), path,
               "the name of a type or a list of them");
        return;
      case Shape::values:
        demand(value.is_array(), path, "a list");
        return;
      case Shape::names:
        demand(is_list_of(value, is_string), path, "a list of strings");
        return;
      case Shape::count:
        demand(value.is_number() && value.get<double>() >= 0, path,
               "an integer that is not negative");
        return;
      case Shape::number:
        demand(value.is_number(), path, "a number");
        return;
      case Shape::factor:
        demand(value.is_number() && value.get<double>() > 0, path, "a number over 0");
        return;
      case Shape::flag:
        demand(value.is_boolean(), path, "true or false");
        return;
      case Shape::pattern:
        return check_pattern(value, path);
      case Shape::reference:
        return check_reference(value, path);
    }
  }

  void check_list(const Json& value, const std::string& path) {
    if (!demand(value.is_array() && !value.empty(), path, "a list of schemas")) return;
    std::size_t index = 0;
    for (const Json& each : value) check_schema(each, fmt::format("{}/{}", path, index++));
  }

  void check_named(const Json& value, const std::string& path, bool names_are_patterns) {
    if (!demand(value.is_object(), path, "an object of schemas")) return;
    for (const auto& [name, schema] : value.items()) {
      const std::string where = fmt::format("{}/{}", path, name);
      if (names_are_patterns) check_pattern(Json(name), where);
      check_schema(schema, where);
    }
  }

  void check_name_lists(const Json& value, const std::string& path) {
    const bool fits = value.is_object() &&
                      std::all_of(value.begin(), value.end(),
                                  [](const Json& names) { return is_list_of(names, is_string); });
    demand(fits, path, "an object of lists of strings");
  }

  void check_pattern(const Json& value, const std::string& path) {
    if (!demand(value.is_string(), path, "a regular expression")) return;
    const auto& text = value.get_ref<const std::string&>();
    auto regex = Regex::compile(text);
    if (!regex) return bad(path, regex.error().message);
    document_.patterns.emplace(text, std::move(*regex));
  }

  void check_reference(const Json& value, const std::string& path) {
    if (!demand(value.is_string(), path, "a reference")) return;
    const auto& text = value.get_ref<const std::string&>();
    const Json* target = resolve_reference(document_.root, text);
    if (target == nullptr) {
      return bad(path, fmt::format("'{}' leads nowhere inside this schema", text));
    }
    // A target outside the known places (a name of somebody's own) is met only by this way.
    if (visited_.insert(target).second) targets_.emplace_back(target, text);
  }

  SchemaDocument& document_;
  std::set<const Json*> visited_;
  std::vector<std::pair<const Json*, std::string>> targets_;  // visited, and still to be walked
  std::vector<SchemaFault> faults_;
};

std::string describe(const std::vector<SchemaFault>& faults) {
  std::vector<std::string> texts;
  texts.reserve(faults.size());
  for (const SchemaFault& fault : faults) {
    texts.push_back(fmt::format("schema at {}: {}", fault.path, fault.what));
  }
  return fmt::format("{}", fmt::join(texts, "; "));
}

}  // namespace

JsonSchema::JsonSchema(std::unique_ptr<const Compiled> compiled) : compiled_(std::move(compiled)) {}
JsonSchema::JsonSchema(JsonSchema&&) noexcept = default;
JsonSchema& JsonSchema::operator=(JsonSchema&&) noexcept = default;
JsonSchema::~JsonSchema() = default;

Result<JsonSchema> JsonSchema::compile(std::string_view schema_text) {
  auto compiled = std::make_unique<Compiled>();
  auto root = parse_json(schema_text);
  if (!root) return fail_in("schema", root.error());
  compiled->document.root = std::move(*root);
  const auto faults = Compiler(compiled->document).run();
  if (!faults.empty()) return fail(Errc::invalid_argument, describe(faults));
  return JsonSchema(std::move(compiled));
}

std::vector<SchemaFault> schema_faults(std::string_view schema_text) {
  SchemaDocument document;
  auto root = parse_json(schema_text);
  if (!root) return {{"#", root.error().message}};
  document.root = std::move(*root);
  return Compiler(document).run();
}

Status JsonSchema::check(std::string_view json_text) const {
  auto value = parse_json(json_text);
  if (!value) return fail_in("arguments are not JSON", value.error());
  SchemaChecker checker(compiled_->document);
  const bool fits = checker.check(*value, compiled_->document.root, "");
  if (checker.is_exhausted()) {
    return fail(Errc::invalid_argument, "arguments: too large for their schema");
  }
  if (fits) return {};
  return fail(Errc::invalid_argument, fmt::format("{}", fmt::join(checker.faults(), "; ")));
}

}  // namespace ponder::tools
