#pragma once

#include <string>
#include <vector>

#include "tests/simulation/run.h"
#include "tools/registry.h"
#include "tools/tool.h"

namespace ponder::simulation {

/// A tool whose effects the witness counts, and that misbehaves as the plan says.
class SimulatedTool final : public tools::Tool {
 public:
  SimulatedTool(Run& run, std::string name, tools::Effect effect,
                std::vector<std::string> capabilities);
  const context::ToolSpec& spec() const override { return spec_; }
  tools::Effect effect() const override { return effect_; }
  const std::vector<std::string>& capabilities() const override { return capabilities_; }
  boost::asio::awaitable<Result<tools::ToolOutput>> invoke(std::string arguments,
                                                           tools::ToolContext context) override;

 private:
  void take_effect(const std::string& key);
  /// Asks, notes and keeps; false when it was cancelled.
  boost::asio::awaitable<bool> use_services(tools::ToolContext context);
  Result<tools::ToolOutput> answer();

  Run* run_;
  context::ToolSpec spec_;
  tools::Effect effect_;
  std::vector<std::string> capabilities_;
};

/// One tool of each effect, and one that needs what nobody granted.
void add_tools(tools::Registry& registry, Run& run);

/// The names of add_tools().
const std::vector<std::string>& tool_names();

}  // namespace ponder::simulation
