#pragma once

#include <string>
#include <utility>
#include <vector>

#include "context/message.h"

/// Short ways to write conversations in tests.
namespace ponder::context::testing {

inline Message system(std::string content) {
  Message message;
  message.role = Role::system;
  message.content = std::move(content);
  return message;
}

inline Message user(std::string content) {
  Message message;
  message.role = Role::user;
  message.content = std::move(content);
  return message;
}

inline Message assistant(std::string reasoning, std::string content,
                         std::vector<ToolCall> calls = {}) {
  Message message;
  message.role = Role::assistant;
  message.reasoning = std::move(reasoning);
  message.content = std::move(content);
  message.tool_calls = std::move(calls);
  return message;
}

inline Message result(std::string content, std::string id = "") {
  Message message;
  message.role = Role::tool;
  message.content = std::move(content);
  message.tool_call_id = std::move(id);
  return message;
}

inline ToolCall call(std::string name, std::string arguments = "{}", std::string id = "") {
  return {std::move(id), std::move(name), std::move(arguments)};
}

}  // namespace ponder::context::testing
