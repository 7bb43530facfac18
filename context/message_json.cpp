#include "context/message_json.h"

#include <fmt/format.h>

namespace ponder::context {
namespace {

const Json* value_of(const Json& object, std::string_view key) {
  const Json* value = object.find(key);
  return value == nullptr || value->is_null() ? nullptr : value;
}

Result<std::string> optional_string(const Json& object, std::string_view key) {
  const Json* value = value_of(object, key);
  if (value == nullptr) return std::string();
  if (const std::string* text = value->as_string()) return *text;
  return fail(Errc::invalid_argument, fmt::format("'{}' is not a string", key));
}

Result<std::string> required_string(const Json& object, std::string_view key) {
  if (value_of(object, key) == nullptr) {
    return fail(Errc::invalid_argument, fmt::format("'{}' is missing", key));
  }
  return optional_string(object, key);
}

/// Text as it is, or the texts of a list of text parts joined.
Result<std::string> content_text(const Json& object) {
  const Json* value = value_of(object, "content");
  if (value == nullptr || !value->is_array()) return optional_string(object, "content");
  std::string text;
  for (const Json& part : *value->as_array()) {
    const Json* type = part.find("type");
    const Json* piece = part.find("text");
    if (type == nullptr || piece == nullptr || *type != Json("text") || !piece->is_string()) {
      return fail(Errc::invalid_argument, "'content' has a part that is not text");
    }
    text += *piece->as_string();
  }
  return text;
}

Result<Role> role_from_json(const Json& json) {
  PONDER_TRY(const std::string name, required_string(json, "role"));
  for (const Role role : {Role::system, Role::developer, Role::user, Role::assistant, Role::tool}) {
    if (name == role_name(role)) return role;
  }
  return fail(Errc::invalid_argument, fmt::format("unknown role '{}'", name));
}

Result<ToolCall> tool_call_from_json(const Json& json) {
  const Json* function = json.find("function");
  if (function == nullptr) return fail(Errc::invalid_argument, "a tool call has no 'function'");
  ToolCall call;
  PONDER_TRY(call.id, optional_string(json, "id"));
  PONDER_TRY(call.name, required_string(*function, "name"));
  const Json* arguments = value_of(*function, "arguments");
  if (arguments != nullptr && arguments->is_object()) {
    call.arguments = print_json(*arguments);
  } else {
    PONDER_TRY(call.arguments, required_string(*function, "arguments"));
  }
  return call;
}

/// The list under `key`; absent and null give an empty one.
Result<Json::Array> list_of(const Json& json, std::string_view key) {
  const Json* value = value_of(json, key);
  if (value == nullptr) return Json::Array();
  if (const Json::Array* list = value->as_array()) return *list;
  return fail(Errc::invalid_argument, fmt::format("'{}' is not a list", key));
}

Status put_tools(const Message& message, Json& json) {
  if (message.tools.empty()) return {};
  Json::Array tools;
  for (const ToolSpec& spec : message.tools) {
    PONDER_TRY(Json tool, tool_spec_to_json(spec));
    tools.push_back(std::move(tool));
  }
  json.set("tools", std::move(tools));
  return {};
}

}  // namespace

std::string_view role_name(Role role) {
  switch (role) {
    case Role::system:
      return "system";
    case Role::developer:
      return "developer";
    case Role::user:
      return "user";
    case Role::assistant:
      return "assistant";
    case Role::tool:
      return "tool";
  }
  return "unknown";
}

Json tool_call_to_json(const ToolCall& call) {
  Json json = Json::Object();
  if (!call.id.empty()) json.set("id", call.id);
  json.set("type", "function");
  json.set("function", Json::Object{{"name", call.name}, {"arguments", call.arguments}});
  return json;
}

Result<Json> tool_spec_to_json(const ToolSpec& spec) {
  Json function = Json::Object{{"name", spec.name}};
  if (!spec.description.empty()) function.set("description", spec.description);
  if (!spec.parameters.empty()) {
    auto parameters = parse_json(spec.parameters);
    if (!parameters) return fail_in(fmt::format("tool '{}'", spec.name), parameters.error());
    function.set("parameters", std::move(*parameters));
  }
  return Json(Json::Object{{"type", "function"}, {"function", std::move(function)}});
}

Result<ToolSpec> tool_spec_from_json(const Json& json) {
  const Json* function = json.find("function");
  if (function == nullptr) return fail(Errc::invalid_argument, "a tool has no 'function'");
  ToolSpec spec;
  PONDER_TRY(spec.name, required_string(*function, "name"));
  PONDER_TRY(spec.description, optional_string(*function, "description"));
  if (const Json* parameters = value_of(*function, "parameters")) {
    spec.parameters = print_json(*parameters);
  }
  return spec;
}

Result<Json> message_to_json(const Message& message) {
  Json json = Json::Object{{"role", role_name(message.role)}, {"content", message.content}};
  if (message.role == Role::assistant) {
    json.set("reasoning_content", message.reasoning);
    Json::Array calls;
    for (const ToolCall& call : message.tool_calls) calls.push_back(tool_call_to_json(call));
    if (!calls.empty()) json.set("tool_calls", std::move(calls));
  }
  if (message.role == Role::tool && !message.tool_call_id.empty()) {
    json.set("tool_call_id", message.tool_call_id);
  }
  if (message.role == Role::system || message.role == Role::developer) {
    PONDER_CHECK(put_tools(message, json));
    if (!message.response_format.empty()) {
      PONDER_TRY(Json response_format, parse_json(message.response_format));
      json.set("response_format", std::move(response_format));
    }
  }
  return json;
}

Result<Json::Array> messages_to_json(const Conversation& conversation) {
  Json::Array messages;
  for (std::size_t i = 0; i < conversation.size(); ++i) {
    auto json = message_to_json(conversation[i]);
    if (!json) return fail_in(fmt::format("message {}", i), json.error());
    messages.push_back(std::move(*json));
  }
  return messages;
}

Result<Message> message_from_json(const Json& json) {
  if (!json.is_object()) return fail(Errc::invalid_argument, "a message is not an object");
  Message message;
  PONDER_TRY(message.role, role_from_json(json));
  PONDER_TRY(message.content, content_text(json));
  const bool has_short_name = value_of(json, "reasoning_content") == nullptr;
  PONDER_TRY(message.reasoning,
             optional_string(json, has_short_name ? "reasoning" : "reasoning_content"));
  PONDER_TRY(message.tool_call_id, optional_string(json, "tool_call_id"));
  PONDER_TRY(const Json::Array calls, list_of(json, "tool_calls"));
  for (const Json& call : calls) {
    PONDER_TRY(ToolCall read, tool_call_from_json(call));
    message.tool_calls.push_back(std::move(read));
  }
  PONDER_TRY(const Json::Array tools, list_of(json, "tools"));
  for (const Json& tool : tools) {
    PONDER_TRY(ToolSpec spec, tool_spec_from_json(tool));
    message.tools.push_back(std::move(spec));
  }
  if (const Json* format = value_of(json, "response_format")) {
    message.response_format = print_json(*format);
  }
  return message;
}

}  // namespace ponder::context
