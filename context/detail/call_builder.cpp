#include "context/detail/call_builder.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "context/detail/schema_check.h"
#include "context/detail/schema_types.h"

namespace ponder::context::detail {
namespace {

constexpr std::size_t kNameBytesMax = 64;

bool is_proper_name(std::string_view name) {
  constexpr std::string_view kAllowed =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
  return !name.empty() && name.size() <= kNameBytesMax &&
         name.find_first_not_of(kAllowed) == std::string_view::npos;
}

/// Whether the text is JSON at a glance: an integer of ordinary size or one of the three words.
bool is_plain_scalar(std::string_view text) {
  if (text == "true" || text == "false" || text == "null") return true;
  constexpr std::size_t kDigitsMax = 18;
  if (text.starts_with('-')) text.remove_prefix(1);
  if (text.empty() || text.size() > kDigitsMax || (text[0] == '0' && text.size() > 1)) return false;
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

bool is_json(std::string_view text) {
  return is_plain_scalar(text) || parse_json(text).has_value();
}

/// The text of a JSON object that grows member by member, and where each value stands in it.
class ArgumentList {
 public:
  struct Argument {
    std::string_view key;
    const RawParam* param = nullptr;  // what it came from, if from one
    ByteSpan value;                   // its JSON text
  };

  const std::vector<Argument>& all() const { return arguments_; }
  std::string_view value(const Argument& argument) const {
    return std::string_view(text_).substr(argument.value.begin,
                                          argument.value.end - argument.value.begin);
  }

  const Argument* find(std::string_view key) const {
    constexpr std::size_t kNumCompared = 16;
    if (arguments_.size() > kNumCompared) {
      for (; num_indexed_ < arguments_.size(); ++num_indexed_) {
        index_.emplace(arguments_[num_indexed_].key, num_indexed_);
      }
      const auto found = index_.find(key);
      return found == index_.end() ? nullptr : &arguments_[found->second];
    }
    for (const Argument& argument : arguments_) {
      if (argument.key == key) return &argument;
    }
    return nullptr;
  }

  void reserve(std::size_t num_arguments, std::size_t num_bytes) {
    arguments_.reserve(num_arguments);
    text_.reserve(num_bytes);
  }
  /// Appends the key; what is then appended to the returned text, up to `end`, is its value.
  std::string& begin(std::string_view key, const RawParam* param = nullptr) {
    text_ += arguments_.empty() ? "{" : ", ";
    append_quoted_json(text_, key);
    text_ += ": ";
    arguments_.push_back({key, param, {text_.size(), text_.size()}});
    return text_;
  }
  void end() { arguments_.back().value.end = text_.size(); }

  void add(std::string_view key, std::string_view json) {
    begin(key) += json;
    end();
  }
  void clear() { *this = {}; }
  std::string take_text() { return arguments_.empty() ? "{}" : std::move(text_ += '}'); }

 private:
  std::string text_;
  std::vector<Argument> arguments_;
  // Of lists that are too long to be searched one by one.
  mutable std::unordered_map<std::string_view, std::size_t> index_;
  mutable std::size_t num_indexed_ = 0;
};

/// Builds one call; every repair raises its class and leaves a note.
class Build {
 public:
  Build(const RawInvoke& invoke, const Json* schema, NoteList& notes)
      : invoke_(invoke), schema_(schema), notes_(notes) {
    parsed_.call.name = invoke.name;
    parsed_.source = invoke.source;
  }

  ParsedCall run() {
    check_form();
    if (invoke_.form.holds_json) {
      if (!invoke_.text.empty() && read_json_body()) text_as_written_ = invoke_.text;
      unwrap();
    } else if (invoke_.params.empty() && !invoke_.text.empty()) {
      if (read_json_body()) note("json_body", "", CallClass::lossless);
    } else {
      if (!invoke_.text.empty()) {
        refuse("text_in_invoke",
               fmt::format("unexpected text {} between the parameters", show(invoke_.text)));
      }
      read_params();
      unwrap();
    }
    check_properties();
    // What is right as it is stands in the next prompt as it was written.
    parsed_.call.arguments =
        text_as_written_.empty() ? arguments_.take_text() : std::string(text_as_written_);
    return std::move(parsed_);
  }

  void refuse(std::string_view code, std::string problem) {
    note(code, problem, CallClass::refused);
    if (parsed_.problem.empty()) parsed_.problem = std::move(problem);
  }

 private:
  void note(std::string_view code, std::string_view detail, CallClass call_class) {
    parsed_.call_class = std::max(parsed_.call_class, call_class);
    notes_.add(code, invoke_.source.begin, detail);
  }

  void check_form() {
    if (!invoke_.form.is_well_formed) {
      refuse("invoke_header", "the invoke's opening tag could not be read");
    } else if (!invoke_.form.is_canonical) {
      note("tag_spelling", "invoke",
           invoke_.form.has_exact_marker ? CallClass::lossless : CallClass::repaired);
    }
    if (!invoke_.is_closed) note("invoke_unclosed", invoke_.name, CallClass::repaired);
    if (invoke_.has_stray) refuse("stray_tag", "a tag stands where none belongs");
  }

  /// The whole body as one JSON object, which formats without parameters have and others may.
  bool read_json_body() {
    Result<Json> body = parse_json(invoke_.text);
    if (!body || !body->is_object()) {
      refuse("text_in_invoke", fmt::format("expected {}, found the text {}",
                                           invoke_.form.holds_json ? "a JSON object" : "parameters",
                                           show(invoke_.text)));
      return false;
    }
    json_ = std::move(*body);
    for (const auto& [key, value] : *json_.as_object()) arguments_.add(key, print_json(value));
    return true;
  }

  void read_params() {
    std::size_t num_bytes = 0;
    for (const RawParam& param : invoke_.params) {
      constexpr std::size_t kMarkupBytes = 8;  // quotes, colon, comma
      num_bytes += param.name.size() + param.value.size() + kMarkupBytes;
    }
    arguments_.reserve(invoke_.params.size(), num_bytes);
    for (const RawParam& param : invoke_.params) {
      if (const auto* first = arguments_.find(param.name)) {
        take_duplicate(*first->param, param);
        continue;
      }
      check_param_form(param);
      append_value(arguments_.begin(param.name, &param), param);
      arguments_.end();
    }
  }

  void take_duplicate(const RawParam& first, const RawParam& param) {
    const bool is_same =
        first.value == param.value && first.form.string_attr == param.form.string_attr;
    if (is_same) {
      note("duplicate_parameter", param.name, CallClass::lossless);
    } else {
      refuse("duplicate_parameter",
             fmt::format("parameter {} was given twice with different values", show(param.name)));
    }
  }

  void check_param_form(const RawParam& param) {
    const std::string& key = param.name;
    const TagForm& form = param.form;
    if (!form.is_well_formed || key.find("｜") != std::string::npos) {
      refuse("parameter_header",
             fmt::format("the opening tag of parameter {} could not be read", show(key)));
    } else if (!form.is_canonical && form.string_attr != StringAttr::absent &&
               form.string_attr != StringAttr::invalid) {
      note("tag_spelling", key, form.has_exact_marker ? CallClass::lossless : CallClass::repaired);
    }
    if (param.end == ParamEnd::closed) return;
    const bool is_whole_json = form.string_attr == StringAttr::is_false && is_json(param.value);
    note(param.end == ParamEnd::implicit ? "parameter_unclosed" : "closer_misspelled", key,
         is_whole_json ? CallClass::lossless : CallClass::repaired);
  }

  /// Appends the value as JSON text.
  void append_value(std::string& out, const RawParam& param) {
    const std::string& key = param.name;
    const SchemaTypes types(schema_ == nullptr ? nullptr : property_schema(*schema_, key));
    switch (param.form.string_attr) {
      case StringAttr::is_true:
        append_string(out, key, param.value, types);
        return;
      case StringAttr::is_false:
        append_json_value(out, key, param.value, types);
        return;
      case StringAttr::absent:
        append_untyped(out, key, param.value, types);
        return;
      case StringAttr::invalid:
        break;
    }
    refuse("string_attribute",
           fmt::format("parameter {}: string must be \"true\" or \"false\"", show(key)));
    append_quoted_json(out, param.value);
  }

  void append_string(std::string& out, const std::string& key, const std::string& text,
                     const SchemaTypes& types) {
    const bool is_text = !types.is_known() || types.has_string();
    const auto other = is_text ? std::nullopt : accepted_json(text, types);
    if (other) {
      note("string_converted", key, CallClass::repaired);
      out += *other;
    } else {
      append_quoted_json(out, text);  // validation says what was expected
    }
  }

  void append_json_value(std::string& out, const std::string& key, const std::string& text,
                         const SchemaTypes& types) {
    if (!types.is_known() && is_plain_scalar(text)) {
      out += text;
      return;
    }
    const Result<Json> value = parse_json(text);
    const bool wants_text = types.is_known() && types.has_string();
    if (value) {
      const bool is_container = value->is_object() || value->is_array();
      if (types.accepts(*value) || !wants_text || is_container) {
        out += text;
        return;
      }
      note("value_taken_as_text", key, CallClass::repaired);
    } else if (wants_text) {
      note("value_taken_as_text", key, CallClass::lossless);
    } else if (const auto respelled = respell(text)) {
      note("value_respelled", key, CallClass::repaired);
      out += *respelled;
      return;
    } else {
      refuse("value_not_json", fmt::format("parameter {}: {} is not JSON", show(key), show(text)));
    }
    append_quoted_json(out, text);
  }

  void append_untyped(std::string& out, const std::string& key, const std::string& text,
                      const SchemaTypes& types) {
    note("string_attribute", key, CallClass::repaired);
    const bool is_text = types.is_known() && types.has_string();
    const auto json = is_text ? std::nullopt : accepted_json(text, types);
    if (json) {
      out += *json;
    } else {
      append_quoted_json(out, text);
    }
  }

  /// The text, or its usual spelling, if it is JSON of an accepted type.
  static std::optional<std::string> accepted_json(const std::string& text,
                                                  const SchemaTypes& types) {
    for (const auto& candidate : {std::optional<std::string>(text), respell(text)}) {
      if (!candidate) continue;
      const Result<Json> value = parse_json(*candidate);
      if (value && types.accepts(*value)) return candidate;
    }
    return std::nullopt;
  }

  /// Arguments that were wrapped into a single parameter of that purpose.
  void unwrap() {
    if (schema_ == nullptr || arguments_.all().size() != 1) return;
    const std::string wrapper(arguments_.all()[0].key);
    if (wrapper != "arguments" && wrapper != "input") return;
    if (property_schema(*schema_, wrapper) != nullptr) return;
    Result<Json> inner = parse_json(arguments_.value(arguments_.all()[0]));
    if (inner && inner->is_string()) {
      Result<Json> from_text = parse_json(*inner->as_string());
      if (from_text && from_text->is_object()) inner = std::move(from_text);
    }
    if (!inner) return;
    if (inner->is_object()) {
      unwrap_object(wrapper, std::move(*inner));
    } else {
      unwrap_scalar(wrapper, *inner);
    }
  }

  void unwrap_object(const std::string& wrapper, Json inner) {
    const Json::Object& members = *inner.as_object();
    for (const auto& [key, value] : members) {
      if (property_schema(*schema_, key) == nullptr) return;
    }
    arguments_.clear();
    text_as_written_ = {};
    json_ = std::move(inner);
    for (const auto& [key, value] : *json_.as_object()) arguments_.add(key, print_json(value));
    note("unwrapped", wrapper, CallClass::lossless);
  }

  void unwrap_scalar(const std::string& wrapper, const Json& value) {
    const std::vector<std::string> required = required_names(*schema_);
    if (required.size() != 1 || !value.is_string()) return;
    const Json* property = property_schema(*schema_, required[0]);
    const SchemaTypes types(property);
    if (!types.is_known() || !types.has_string()) return;
    arguments_.clear();
    text_as_written_ = {};
    json_ = Json(required[0]);
    arguments_.add(*json_.as_string(), print_json(value));
    note("unwrapped", wrapper, CallClass::repaired);
  }

  void check_properties() {
    if (schema_ == nullptr) return;
    std::vector<std::string> missing;
    for (const std::string& name : required_names(*schema_)) {
      if (arguments_.find(name) != nullptr) continue;
      missing.push_back(fmt::format("parameter {}: is missing", show(name)));
    }
    if (!missing.empty()) {
      refuse("arguments_missing", fmt::format("{}", fmt::join(missing, "; ")));
    }
    for (const auto& argument : arguments_.all()) {
      if (const Json* property = property_schema(*schema_, argument.key)) {
        check_value(*property, argument);
      } else if (!allows_additional(*schema_)) {
        refuse("undeclared_parameter", fmt::format("parameter {}: is not known, there are: {}",
                                                   show(argument.key), declared_names(*schema_)));
      }
    }
  }

  void check_value(const Json& property, const ArgumentList::Argument& argument) {
    if (parsed_.call_class == CallClass::refused) return;  // there is a better reason already
    const std::string_view text = arguments_.value(argument);
    const bool is_plain_text =
        text.starts_with('"') && SchemaTypes(&property).has_string() && !property.find("enum");
    if (is_plain_text) return;
    const Result<Json> value = parse_json(text);
    if (!value) return;
    if (auto fault = find_schema_fault(property, *value, std::string(argument.key))) {
      refuse("argument_type", *std::move(fault));
    }
  }

  const RawInvoke& invoke_;
  const Json* schema_;
  NoteList& notes_;
  ParsedCall parsed_;
  ArgumentList arguments_;
  Json json_;  // owns keys that came from no parameter
  std::string_view text_as_written_;
};

}  // namespace

CallBuilder::CallBuilder(const std::vector<ToolSpec>* tools, bool allows_calls)
    : has_tools_(tools != nullptr), allows_calls_(allows_calls) {
  if (tools == nullptr) return;
  for (const ToolSpec& spec : *tools) {
    Result<Json> schema = parse_json(spec.parameters);
    tools_.push_back({spec.name, schema ? std::move(*schema) : Json(Json::Object())});
  }
}

const CallBuilder::Tool* CallBuilder::find(std::string_view name) const {
  const auto found = std::find_if(tools_.begin(), tools_.end(),
                                  [&](const Tool& tool) { return tool.name == name; });
  return found == tools_.end() ? nullptr : &*found;
}

bool CallBuilder::knows(std::string_view name) const { return find(name) != nullptr; }

ParsedCall CallBuilder::build(const RawInvoke& invoke, NoteList& notes) const {
  const Tool* tool = find(invoke.name);
  Build build(invoke, tool == nullptr ? nullptr : &tool->schema, notes);
  if (!allows_calls_) build.refuse("calls_not_allowed", "tools are switched off for this turn");
  if (!is_proper_name(invoke.name)) {
    build.refuse("tool_name", fmt::format("{} is no tool name", show(invoke.name)));
  } else if (has_tools_ && tool == nullptr) {
    std::vector<std::string_view> names;
    names.reserve(tools_.size());
    for (const Tool& known : tools_) names.push_back(known.name);
    build.refuse("unknown_tool", fmt::format("there is no tool {}; the tools are: {}",
                                             show(invoke.name), fmt::join(names, ", ")));
  }
  return build.run();
}

}  // namespace ponder::context::detail
