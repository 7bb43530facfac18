#include "runtime/agent/agent_tool.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <optional>
#include <utility>

#include "base/assert.h"
#include "context/json.h"

namespace ponder::runtime {
namespace {

using context::Json;

constexpr std::int64_t kMsPerSecond = 1000;

/// The number under `key`, at most `max`; the schema has seen to it that it is positive.
std::optional<std::int64_t> number_of(const Json& arguments, std::string_view key,
                                      std::int64_t max) {
  const Json* value = arguments.find(key);
  const context::JsonInteger* integer = value == nullptr ? nullptr : value->as_integer();
  if (integer == nullptr) return std::nullopt;
  std::int64_t out = max;  // more digits than fit
  const std::string& digits = integer->digits;
  std::from_chars(digits.data(), digits.data() + digits.size(), out);
  return std::min(out, max);
}

Result<tools::AgentTask> task_of(const std::string& arguments) {
  PONDER_TRY(const Json json, context::parse_json(arguments));
  const Json* task = json.find("task");
  PONDER_ASSERT(task != nullptr && task->is_string());  // the schema requires it
  tools::AgentTask out(*task->as_string());
  constexpr std::int64_t kCountMax = std::numeric_limits<std::uint32_t>::max();
  out.steps_max = number_of(json, "steps", kCountMax);
  out.tokens_max = number_of(json, "tokens", kCountMax);
  const auto seconds = number_of(json, "seconds", kCountMax);
  if (seconds) out.ms_max = *seconds * kMsPerSecond;
  const Json* is_fork = json.find("fork");
  out.is_fork = is_fork != nullptr && is_fork->is_bool() && *is_fork->as_bool();
  if (const Json* tools = json.find("tools")) {
    out.tools.emplace();
    for (const Json& name : *tools->as_array()) out.tools->push_back(*name.as_string());
  }
  return out;
}

}  // namespace

const context::ToolSpec& agent_tool_spec() {
  static const context::ToolSpec spec = {
      kAgentTool,
      "Hands a task to another agent, which works on its own and gives back its answer. It sees "
      "nothing of this conversation, so the task has to say everything, unless fork is true: then "
      "it knows all that you know. Call it several times at once for tasks that can be done side "
      "by side.",
      R"({"type": "object", "properties": {)"
      R"("task": {"type": "string", "description": "what to do, and what to answer with"}, )"
      R"("tools": {"type": "array", "items": {"type": "string"}, )"
      R"("description": "the only tools it may use; without it, all of yours"}, )"
      R"("steps": {"type": "integer", "minimum": 1}, )"
      R"("tokens": {"type": "integer", "minimum": 1}, )"
      R"("seconds": {"type": "integer", "minimum": 1}, )"
      R"("fork": {"type": "boolean"}}, "required": ["task"], "additionalProperties": false})"};
  return spec;
}

boost::asio::awaitable<Result<tools::ToolOutput>> AgentTool::invoke(std::string arguments,
                                                                    tools::ToolContext context) {
  PONDER_ASSERT(context.agents != nullptr);
  auto task = task_of(arguments);
  PONDER_CO_CHECK(task);
  auto output = co_await context.agents->run(std::move(*task));
  co_return output;
}

}  // namespace ponder::runtime
