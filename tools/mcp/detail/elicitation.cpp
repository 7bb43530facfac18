#include "tools/mcp/detail/elicitation.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <vector>

#include "base/http/http_client.h"
#include "tools/json_schema.h"

namespace ponder::mcp {
namespace {

namespace asio = boost::asio;

constexpr std::size_t kFieldsMax = 32;
constexpr std::size_t kChoicesMax = 64;
constexpr std::size_t kTextBytesMax = 2000;
constexpr int kAttemptsMax = 3;
constexpr const char* kDecline = "/decline";

Json action(const char* name) { return {{"action", name}}; }

/// The values that a field can have, for one that has a list of them.
std::vector<std::string> choices_of(const Json& field) {
  std::vector<std::string> choices;
  for (const Json& value : array_field(field, "enum")) {
    if (value.is_string()) choices.push_back(value.get<std::string>());
  }
  for (const char* key : {"oneOf", "anyOf"}) {
    for (const Json& option : array_field(field, key)) {
      if (option.is_object() && option.contains("const")) {
        choices.push_back(string_field(option, "const"));
      }
    }
  }
  if (string_field(field, "type") == "boolean") choices = {"true", "false"};
  const auto is_line = [](const std::string& choice) {
    return one_line(choice, kTextBytesMax) == choice;
  };
  const bool can_be_shown = choices.size() <= kChoicesMax &&
                            std::all_of(choices.begin(), choices.end(), is_line);
  return can_be_shown ? choices : std::vector<std::string>();
}

/// What the choices are called, where they have titles.
std::string titles_of(const Json& field) {
  std::string titles;
  for (const char* key : {"oneOf", "anyOf"}) {
    for (const Json& option : array_field(field, key)) {
      if (!option.is_object() || !option.contains("title")) continue;
      titles += fmt::format("{}{}: {}", titles.empty() ? "" : ", ", string_field(option, "const"),
                            string_field(option, "title"));
    }
  }
  return titles;
}

std::vector<std::string> split_list(const std::string& text) {
  std::vector<std::string> parts;
  std::size_t begin = 0;
  while (begin <= text.size()) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    const std::string_view part = std::string_view(text).substr(begin, end - begin);
    const auto first = part.find_first_not_of(' ');
    const auto last = part.find_last_not_of(' ');
    if (first != std::string_view::npos) parts.emplace_back(part.substr(first, last - first + 1));
    begin = end + 1;
  }
  return parts;
}

/// A person's words as a value of the field's type; none when they are no such thing.
std::optional<Json> value_of(const std::string& words, const Json& field) {
  const std::string type = string_field(field, "type", "string");
  if (type == "array") return Json(split_list(words));
  if (type == "string") return Json(words);
  if (type == "boolean") {
    if (words == "true" || words == "yes") return Json(true);
    if (words == "false" || words == "no") return Json(false);
    return std::nullopt;
  }
  const auto number = parse_json(words);
  if (!number || !number->is_number()) return std::nullopt;
  return *number;
}

/// Why a value does not fit; empty when it does.
std::string fault_of(const Json& value, const Json& field) {
  const auto schema = tools::JsonSchema::compile(dump_json(field));
  if (!schema) return schema.error().message;
  const Status fits = schema->check(dump_json(value));
  return fits ? std::string() : fits.error().message;
}

/// A person who is asked one field after the other.
class Form {
 public:
  Form(tools::CallServices* services, std::string heading)
      : services_(services), heading_(std::move(heading)) {}

  /// Asks for a field and keeps its value. What it gives is empty, or the action that ends the
  /// form.
  asio::awaitable<std::string> ask(std::string name, Json field, bool is_required) {
    std::string remark;
    for (int attempt = 0; attempt < kAttemptsMax; ++attempt) {
      tools::Question question = question_of(name, field, is_required, remark);
      const auto answer = co_await services_->ask(std::move(question));
      if (!answer) co_return "cancel";
      if (*answer == kDecline) co_return "decline";
      if (answer->empty() && field.contains("default")) {
        content_[name] = field["default"];
        co_return "";
      }
      if (answer->empty() && !is_required) co_return "";
      const auto value = value_of(*answer, field);
      remark = value ? fault_of(*value, field) : "that is no " + string_field(field, "type");
      if (value && remark.empty()) {
        content_[name] = *value;
        co_return "";
      }
    }
    co_return "cancel";
  }
  const Json& content() const { return content_; }

 private:
  tools::Question question_of(const std::string& name, const Json& field, bool is_required,
                              const std::string& remark) const {
    std::string text = string_field(field, "title", name);
    const std::string description = string_field(field, "description");
    if (!description.empty()) text += fmt::format(": {}", description);
    const std::string titles = titles_of(field);
    if (!titles.empty()) text += fmt::format(" ({})", titles);
    if (field.contains("default")) {
      text += fmt::format(" [nothing: {}]", dump_json_short(field["default"]));
    } else if (!is_required) {
      text += " [may be left empty]";
    }
    // Each is one line, so that no server writes lines of ours, or to the terminal.
    text = fmt::format("{}\n{}", heading_, one_line(text, kTextBytesMax));
    if (!remark.empty()) text += fmt::format("\n({})", one_line(remark, kTextBytesMax));
    tools::Question question(std::move(text));
    question.choices = choices_of(field);
    if (question.choices.empty()) {
      question.text += fmt::format("\n({} refuses)", kDecline);
    } else {
      if (field.contains("default") || !is_required) question.choices.emplace_back("");
      question.choices.emplace_back(kDecline);
    }
    return question;
  }
  tools::CallServices* services_;
  std::string heading_;
  Json content_ = Json::object();
};

asio::awaitable<Json> ask_consent(tools::CallServices* services, std::string text) {
  tools::Question question(std::move(text));
  question.choices = {"/accept", kDecline};
  const auto answer = co_await services->ask(std::move(question));
  if (!answer) co_return action("cancel");
  co_return action(*answer == "/accept" ? "accept" : "decline");
}

asio::awaitable<Json> ask_form(tools::CallServices* services, std::string heading, Json schema) {
  const Json& properties = object_field(schema, "properties");
  if (properties.size() > kFieldsMax) co_return action("cancel");
  if (properties.empty()) {
    Json result = co_await ask_consent(services, std::move(heading));
    if (result == action("accept")) result["content"] = Json::object();
    co_return result;
  }
  const Json& required = array_field(schema, "required");
  Form form(services, std::move(heading));
  for (const auto& [name, field] : properties.items()) {
    if (!field.is_object()) co_return action("cancel");
    const bool is_required =
        std::find(required.begin(), required.end(), Json(name)) != required.end();
    const std::string ended = co_await form.ask(name, field, is_required);
    if (!ended.empty()) co_return action(ended.c_str());
  }
  Json result = action("accept");
  result["content"] = form.content();
  co_return result;
}

}  // namespace

asio::awaitable<Json> elicit(tools::CallServices* services, std::string server, Json params) {
  if (services == nullptr) co_return action("cancel");
  const std::string message = one_line(string_field(params, "message"), kTextBytesMax);
  std::string heading = fmt::format("The server '{}' asks: {}", server, message);
  if (string_field(params, "mode", "form") == "form") {
    Json result =
        co_await ask_form(services, std::move(heading), object_field(params, "requestedSchema"));
    co_return result;
  }
  const auto url = http::parse_url(string_field(params, "url"));
  if (string_field(params, "mode") != "url" || !url) co_return action("cancel");
  heading += fmt::format("\nIt wants you to open this address of {}, in a browser:\n{}", url->host,
                         one_line(string_field(params, "url"), kTextBytesMax));
  Json result = co_await ask_consent(services, std::move(heading));
  co_return result;
}

}  // namespace ponder::mcp
