#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tools/mcp/detail/host.h"
#include "tools/tool.h"

namespace ponder::mcp {

/// What a tool says of itself, and what it does where.
struct McpToolCard {
  context::ToolSpec spec;
  tools::Effect effect = tools::Effect::irreversible;
  std::size_t server = 0;
  std::string server_name;
  Action action;
  std::chrono::milliseconds call_ms_max{300'000};
  std::uint32_t calls_max = 0;
};

/// A tool that another program runs. Its calls wait on the session's executor, while the host's
/// thread speaks with the server.
class McpTool final : public tools::Tool {
 public:
  McpTool(McpToolCard card, std::shared_ptr<Host> host);

  const context::ToolSpec& spec() const override { return card_.spec; }
  tools::Effect effect() const override { return card_.effect; }
  const std::vector<std::string>& capabilities() const override { return capabilities_; }
  std::uint32_t concurrency_max() const override { return card_.calls_max; }
  bool limits_its_time() const override { return true; }
  boost::asio::awaitable<Result<tools::ToolOutput>> invoke(std::string arguments,
                                                           tools::ToolContext context) override;

 private:
  McpToolCard card_;
  std::shared_ptr<Host> host_;  // shared by all tools of its servers
  std::vector<std::string> capabilities_;
};

}  // namespace ponder::mcp
