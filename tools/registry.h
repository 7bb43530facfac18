#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"
#include "context/message.h"
#include "tools/json_schema.h"
#include "tools/tool.h"

namespace ponder::tools {

/// Why a call may not run, in the words that the model reads.
struct Refusal {
  enum class Reason { unknown_tool, not_granted, bad_arguments };
  Refusal(Reason reason, std::string message) : reason(reason), message(std::move(message)) {}
  Reason reason;
  std::string message;
};

/// The tools of one agent, by name, and the gate in front of them: a call runs only when its tool
/// exists, what it needs was granted, and its arguments are what the tool's schema asks for.
///
/// Invariant: every tool's schema compiled. Order: specs() lists tools as they were added, so that
/// the prompt is the same in every run.
/// Thread: add() first, then any number of readers. Lifetime: outlives every call of its tools.
class Registry {
 public:
  /// `invalid_argument` when the name is taken or no identifier, or the parameters are no schema.
  Status add(std::unique_ptr<Tool> tool);

  const std::vector<context::ToolSpec>& specs() const { return specs_; }
  /// nullptr when there is none.
  Tool* find(std::string_view name) const;

  /// The tool that may run `call`, or why none may.
  std::variant<Tool*, Refusal> admit(const context::ToolCall& call,
                                     std::span<const std::string> grants) const;

 private:
  struct Entry {
    std::unique_ptr<Tool> tool;
    JsonSchema schema;
  };
  std::string unknown_tool_message(std::string_view name) const;
  std::map<std::string, Entry, std::less<>> entries_;
  std::vector<context::ToolSpec> specs_;
};

/// `invalid_argument` unless `name` is what chat formats and endpoints take as a function's name.
Status check_tool_name(std::string_view name);

/// What the model reads when a tool failed: "error: " and the message.
ToolOutput error_output(std::string_view message);

/// At most `bytes_max` bytes of `text`, cut between characters, with a note that says so.
std::string cap_output(std::string text, std::size_t bytes_max);
/// The same for a tool's whole answer, which then says how long it was.
ToolOutput cap_output(ToolOutput output, std::size_t bytes_max);

}  // namespace ponder::tools
