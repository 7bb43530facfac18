#pragma once

#include <atomic>
#include <boost/asio/any_io_executor.hpp>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tools/detail/json.h"
#include "tools/environment.h"
#include "tools/lua/database.h"
#include "tools/lua/state.h"

namespace ponder::tools {

/// What an environment says about one of its tools.
struct LuaToolInfo {
  context::ToolSpec spec;
  Effect effect = Effect::irreversible;
  std::vector<std::string> capabilities;
  bool has_values = false;  // it has a function that says what its parameters can be
};

/// The Lua state and the database of one environment, and the only way to run something in them.
///
/// Invariant: the mutex is held by whoever uses the state. Tool calls come from the strand, one
/// after the other; the environment's own methods from the caller's thread.
class Environment::Host {
 public:
  /// An argument of an environment's function: JSON, or (null) the `db` table.
  using Argument = const Json*;

  Host(WorldOptions world, boost::asio::any_io_executor strand, const Clock& clock,
       std::unique_ptr<lua::State> state, lua::Database database);

  /// Loads the script, reads what it declares, builds the world and seals it.
  Status start();

  const WorldOptions& world() const { return world_; }
  const std::string& instructions() const { return instructions_; }
  const std::vector<LuaToolInfo>& tools() const { return tools_; }
  const boost::asio::any_io_executor& strand() const { return strand_; }

  /// Calls `function` of the environment; gives its first two results. `internal` with file and
  /// line when it raises, or is not there.
  Result<std::vector<Json>> call(const char* function, std::span<const Argument> arguments);

  /// Runs the tool at `index`. A Lua error or a used-up budget is an output; `cancelled` and
  /// `deadline` are errors.
  Result<ToolOutput> run_tool(std::size_t index, const std::string& arguments,
                              const ToolContext& context, const std::atomic<bool>* stop);

  /// What the tool's function `values` says. `internal` when it raises or gives no table of lists
  /// of strings; `cancelled`, `deadline`, and `exhausted` for a used-up budget.
  Result<std::vector<ParameterValues>> tool_values(std::size_t index, const ToolContext& context,
                                                   const std::atomic<bool>* stop);

  Status begin(const Json& task);
  const std::optional<Json>& task() const { return task_; }
  /// `ctx.state.submitted.days`; null when nothing was submitted.
  Result<Json> submitted();

 private:
  Status read_declarations();
  Status add_tool(const Json& declared);
  lua::Budget own_budget() const;

  WorldOptions world_;
  boost::asio::any_io_executor strand_;
  const Clock& clock_;
  std::mutex mutex_;
  lua::Database database_;
  std::unique_ptr<lua::State> state_;
  std::string instructions_;
  std::vector<LuaToolInfo> tools_;
  std::optional<Json> task_;
};

}  // namespace ponder::tools
