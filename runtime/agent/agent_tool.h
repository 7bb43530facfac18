#pragma once

#include <boost/asio/awaitable.hpp>
#include <string>
#include <vector>

#include "tools/tool.h"

namespace ponder::runtime {

inline constexpr const char* kAgentTool = "agent";

/// What the model is told of `AgentTool`.
const context::ToolSpec& agent_tool_spec();

/// `agent`: hands a task to a sub-agent; its answer is the result. Calls of one completion run at
/// the same time.
///
/// It is idempotent: the same call made again after a crash finds the same sub-agent, which goes
/// on, and what that does is in its own log with effects of its own.
/// Thread: the session's executor. Requires: a context with `agents`.
class AgentTool final : public tools::Tool {
 public:
  const context::ToolSpec& spec() const override { return agent_tool_spec(); }
  tools::Effect effect() const override { return tools::Effect::idempotent; }
  const std::vector<std::string>& capabilities() const override { return none_; }
  std::uint32_t concurrency_max() const override { return 8; }
  bool limits_its_time() const override { return true; }
  boost::asio::awaitable<Result<tools::ToolOutput>> invoke(std::string arguments,
                                                           tools::ToolContext context) override;

 private:
  std::vector<std::string> none_;
};

}  // namespace ponder::runtime
