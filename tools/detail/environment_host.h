#pragma once

#include <atomic>
#include <boost/asio/any_io_executor.hpp>
#include <filesystem>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tools/detail/environment_card.h"
#include "tools/detail/json.h"
#include "tools/environment.h"
#include "tools/lua/database.h"
#include "tools/lua/state.h"

namespace ponder::tools {

/// A call that changed the world.
struct WorldChange {
  std::string tool;
  std::string arguments;  // JSON
  std::string key;        // ToolContext::idempotency_key
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

  /// Loads the script from `folder`, reads what it declares, builds the world and seals it.
  Status start(const std::filesystem::path& folder, const std::string& module);

  const WorldOptions& world() const { return world_; }
  const EnvironmentCard& card() const { return declared_.card; }
  const std::vector<LuaToolInfo>& tools() const { return declared_.tools; }
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

  /// Undoes what tools changed, and forgets the task and the state.
  Status end();
  /// Undoes what tools changed, prepares the world for the task and forgets the state.
  Status begin(const Json& task);
  const std::optional<Json>& task() const { return task_; }
  /// `ctx.state.submitted`; null when nothing was submitted.
  Result<Json> submitted();
  /// The calls that changed the world since begin(), in their order.
  std::vector<WorldChange> changes();
  Result<std::string> dump();

 private:
  enum class Access { look, change };
  Status read_declarations();
  Status reset_state(const Json& task);
  Status reset(const Json& task);
  Status prepare(const Json& task);
  Result<std::vector<Json>> call_locked(const char* function, std::span<const Argument> arguments,
                                        Access access);
  Result<ToolOutput> run_tool_locked(std::size_t index, const Json& arguments,
                                     const ToolContext& context, const std::atomic<bool>* stop);
  lua::Budget own_budget() const;

  WorldOptions world_;
  std::filesystem::path folder_;  // scripts may require at any time
  boost::asio::any_io_executor strand_;
  const Clock& clock_;
  std::mutex mutex_;
  lua::Database database_;
  std::unique_ptr<lua::State> state_;
  Declarations declared_;
  bool has_build_ = false;
  bool has_prepare_ = false;
  std::optional<Json> task_;
  std::vector<WorldChange> changes_;
};

}  // namespace ponder::tools
