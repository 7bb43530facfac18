#pragma once

#include <string>
#include <vector>

#include "tools/json_schema.h"
#include "tools/mcp/detail/message.h"
#include "tools/tool.h"

/// What a model reads of a server's results.
namespace ponder::mcp {

/// A result of `tools/call`: its texts, and its structured content where no text says the same.
/// Pictures, sounds and files of bytes are named with their size. `output` is the schema that the
/// structured content must fit; null: none.
tools::ToolOutput tool_output(const Json& result, const tools::JsonSchema* output);

/// A result of `resources/read`.
tools::ToolOutput resource_output(const Json& result);

/// A result of `prompts/get`: its messages with their roles.
tools::ToolOutput prompt_output(const Json& result);

/// Entries of a list, one a line: those fields that they have.
std::string list_text(const std::vector<Json>& entries, const std::vector<std::string>& fields);

}  // namespace ponder::mcp
