#include "tools/mcp/detail/message.h"

#include <fmt/format.h>

#include "context/json.h"

namespace ponder::mcp {
namespace {

constexpr std::size_t kBatchMax = 1000;

bool is_request_id(const Json& id) { return id.is_string() || id.is_number_integer(); }

Json object_or_empty(const Json& object, const char* name) {
  const auto field = object.find(name);
  return field != object.end() && field->is_object() ? *field : Json::object();
}

Result<Message> read_call(const Json& object) {
  Message message;
  message.method = string_field(object, "method");
  message.params = object_or_empty(object, "params");
  const auto id = object.find("id");
  if (id == object.end()) return message;
  if (!is_request_id(*id)) {
    return fail(Errc::invalid_argument,
                fmt::format("the id of '{}' is {}", message.method, dump_json_short(*id)));
  }
  message.kind = Message::Kind::request;
  message.id = *id;
  return message;
}

Result<Message> read_answer(const Json& object) {
  Message message;
  const auto id = object.find("id");
  if (id != object.end()) message.id = *id;
  const auto result = object.find("result");
  if (result != object.end()) {
    if (!is_request_id(message.id)) {
      return fail(Errc::invalid_argument, "a result without an id");
    }
    if (!result->is_object()) {
      return fail(Errc::invalid_argument,
                  fmt::format("a result that is {}", dump_json_short(*result)));
    }
    message.kind = Message::Kind::result;
    message.result = *result;
    return message;
  }
  const Json& error = object_field(object, "error");
  if (error.empty() || (!message.id.is_null() && !is_request_id(message.id))) {
    return fail(Errc::invalid_argument,
                fmt::format("neither request nor answer: {}", dump_json_short(object)));
  }
  message.kind = Message::Kind::error;
  const auto code = error.find("code");
  if (code != error.end() && code->is_number_integer()) message.code = code->get<std::int64_t>();
  message.text = string_field(error, "message", "an error without a message");
  const auto data = error.find("data");
  if (data != error.end()) message.data = *data;
  return message;
}

Result<Message> read_message(const Json& value) {
  if (!value.is_object()) {
    return fail(Errc::invalid_argument, fmt::format("no message: {}", dump_json_short(value)));
  }
  const auto method = value.find("method");
  if (method != value.end() && method->is_string()) return read_call(value);
  return read_answer(value);
}

}  // namespace

std::string clean_text(std::string_view text) {
  std::string clean;
  while (const auto bad = context::find_invalid_utf8(text)) {
    clean.append(text.substr(0, *bad));
    clean += "\xEF\xBF\xBD";
    text.remove_prefix(*bad + 1);
  }
  return clean.empty() ? std::string(text) : clean.append(text);
}

std::string one_line(std::string_view text, std::size_t bytes_max) {
  std::string line = clean_text(text.substr(0, bytes_max));
  if (text.size() > bytes_max) {
    while (line.ends_with("\xEF\xBF\xBD")) line.resize(line.size() - 3);  // half a character
  }
  for (std::size_t i = 0; i < line.size(); ++i) {
    const auto byte = static_cast<unsigned char>(line[i]);
    // U+0080 to U+009F control a terminal, too.
    const bool is_control_pair =
        byte == 0xC2 && i + 1 < line.size() && static_cast<unsigned char>(line[i + 1]) < 0xA0;
    if (byte < ' ' || byte == 0x7F || is_control_pair) line[i] = ' ';
    if (is_control_pair) line[++i] = ' ';
  }
  const auto last = line.find_last_not_of(' ');
  return last == std::string::npos ? std::string() : line.substr(0, last + 1);
}

Result<std::vector<Message>> parse_messages(std::string_view text) {
  PONDER_TRY(const Json value, parse_json(clean_text(text)));
  std::vector<Message> messages;
  if (!value.is_array()) {
    PONDER_TRY(Message message, read_message(value));
    messages.push_back(std::move(message));
    return messages;
  }
  if (value.size() > kBatchMax) {
    return fail(Errc::exhausted, fmt::format("a batch of {} messages", value.size()));
  }
  for (const Json& entry : value) {
    PONDER_TRY(Message message, read_message(entry));
    messages.push_back(std::move(message));
  }
  return messages;
}

std::string request_text(std::int64_t id, std::string_view method, const Json& params) {
  return dump_json({{"jsonrpc", "2.0"}, {"id", id}, {"method", method}, {"params", params}});
}

std::string notification_text(std::string_view method, const Json& params) {
  Json message = {{"jsonrpc", "2.0"}, {"method", method}};
  if (!params.empty()) message["params"] = params;
  return dump_json(message);
}

std::string result_text(const Json& id, const Json& result) {
  return dump_json({{"jsonrpc", "2.0"}, {"id", id}, {"result", result}});
}

std::string error_text(const Json& id, std::int64_t code, std::string_view message) {
  const Json error = {{"code", code}, {"message", message}};
  return dump_json({{"jsonrpc", "2.0"}, {"id", id}, {"error", error}});
}

std::string string_field(const Json& object, const char* name, std::string otherwise) {
  const auto field = object.find(name);
  if (field == object.end() || !field->is_string()) return otherwise;
  return field->get<std::string>();
}

bool bool_field(const Json& object, const char* name, bool otherwise) {
  const auto field = object.find(name);
  return field != object.end() && field->is_boolean() ? field->get<bool>() : otherwise;
}

const Json& object_field(const Json& object, const char* name) {
  static const Json empty = Json::object();
  const auto field = object.find(name);
  return field != object.end() && field->is_object() ? *field : empty;
}

const Json& array_field(const Json& object, const char* name) {
  static const Json empty = Json::array();
  const auto field = object.find(name);
  return field != object.end() && field->is_array() ? *field : empty;
}

}  // namespace ponder::mcp
