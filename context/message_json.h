#pragma once

#include <string_view>

#include "base/result.h"
#include "context/json.h"
#include "context/message.h"

/// Messages to and from the OpenAI wire form, which is also what the encoder reads.
///
/// Reading is lenient where the meaning is clear: null content is empty, a list of text parts is
/// joined, `reasoning` stands for `reasoning_content`, arguments given as an object become its
/// text. `sampled` has no wire form: ids stay in the log that recorded them.
namespace ponder::context {

/// `system`, `developer`, `user`, `assistant` or `tool`.
std::string_view role_name(Role role);

/// An assistant message always has `content` and `reasoning_content`, empty or not; other members
/// appear only where they say something. Fails if a tool's parameters or a response format are not
/// JSON text.
Result<Json> message_to_json(const Message& message);
Result<Json::Array> messages_to_json(const Conversation& conversation);

/// Fails with invalid_argument, naming the member that cannot be used.
Result<Message> message_from_json(const Json& json);

/// `{"type": "function", "function": {"name", "description", "parameters"}}`.
Result<Json> tool_spec_to_json(const ToolSpec& spec);
Result<ToolSpec> tool_spec_from_json(const Json& json);

/// The call without its id if that is empty.
Json tool_call_to_json(const ToolCall& call);

}  // namespace ponder::context
