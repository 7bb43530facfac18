#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

/// The vocabulary that everyone speaks: what a conversation consists of.
///
/// Plain values, no invariants beyond those stated at the fields; `context/normalize.h` makes a
/// conversation fit for the encoder, `context/message_json.h` maps to the OpenAI wire form.
namespace ponder::context {

using TokenId = std::uint32_t;

enum class Role { system, developer, user, assistant, tool };

/// One call as the model wrote it. Position in the message, not `id`, ties it to its result.
struct ToolCall {
  std::string id;  // ours or the endpoint's; never rendered into a prompt
  std::string name;
  std::string arguments;  // the text of a JSON object
};

/// A function the model may call, as it stands in the prompt.
struct ToolSpec {
  std::string name;
  std::string description;
  std::string parameters;  // the text of a JSON Schema object; key order is kept
};

struct Message {
  Role role = Role::user;
  std::string content;
  std::string reasoning;             // assistant only; empty means present and empty
  std::vector<ToolCall> tool_calls;  // assistant only
  std::string tool_call_id;          // tool only: the call this answers
  std::vector<ToolSpec> tools;       // system and developer only
  std::string response_format;       // system and developer only: JSON text, empty for none
  /// Assistant only: the ids as sampled, from the first after the prompt to the end-of-turn token.
  /// Empty for turns that came from elsewhere (an endpoint, an import).
  std::vector<TokenId> sampled;
  /// User only: a human chose to end the running turn with this message, although calls had just
  /// been answered. Without it the linter refuses user text in mid-turn.
  bool ends_turn = false;
};

using Conversation = std::vector<Message>;

}  // namespace ponder::context
