#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "tools/detail/json.h"

/// JSON-RPC 2.0 as MCP uses it (specification 2026-07-28, basic/index).
namespace ponder::mcp {

using tools::dump_json;
using tools::dump_json_short;
using tools::Json;
using tools::parse_json;

/// Codes with a meaning of their own; all others are text for the reader.
inline constexpr std::int64_t kMethodNotFound = -32601;
inline constexpr std::int64_t kHeaderMismatch = -32020;
inline constexpr std::int64_t kMissingCapability = -32021;
inline constexpr std::int64_t kUnsupportedVersion = -32022;

/// What a server says. Nothing here is trusted but the types: `params` and `result` are objects,
/// a request's `id` is a string or an integer, an answer's too, or null when the server could not
/// tell what it answers.
struct Message {
  enum class Kind { request, notification, result, error };
  Message() = default;
  Kind kind = Kind::notification;
  Json id;
  std::string method;            // request, notification
  Json params = Json::object();  // request, notification
  Json result = Json::object();  // result
  std::int64_t code = 0;         // error
  std::string text;              // error
  Json data;                     // error
  int http_status = 0;           // error that came with a status other than 2xx

  bool is_answer() const { return kind == Kind::result || kind == Kind::error; }
  /// Whether it answers the request of that number.
  bool answers(std::int64_t request) const { return is_answer() && id == Json(request); }
};

/// Reads one message, or the messages of a batch (protocol 2025-03-26). Bytes that are no UTF-8
/// count as replacement characters. `invalid_argument` says what is wrong with it.
Result<std::vector<Message>> parse_messages(std::string_view text);

std::string request_text(std::int64_t id, std::string_view method, const Json& params);
std::string notification_text(std::string_view method, const Json& params);
std::string result_text(const Json& id, const Json& result);
std::string error_text(const Json& id, std::int64_t code, std::string_view message);

/// The text with each byte that is not part of valid UTF-8 replaced by U+FFFD.
std::string clean_text(std::string_view text);

/// At most so many bytes of clean text, cut between characters, without line breaks.
std::string one_line(std::string_view text, std::size_t bytes_max);

/// A field of `object`, or what to take when it is missing or of another type.
std::string string_field(const Json& object, const char* name, std::string otherwise = {});
bool bool_field(const Json& object, const char* name, bool otherwise);
/// The object in that field, or an empty one.
const Json& object_field(const Json& object, const char* name);
/// The array in that field, or an empty one.
const Json& array_field(const Json& object, const char* name);

}  // namespace ponder::mcp
