#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "tools/environment.h"

namespace ponder::tools {

/// What to try of an environment.
struct CheckOptions {
  WorldOptions world;                                           // its seed is not used
  std::function<std::uint64_t(std::uint64_t)> world_seed_of{};  // of a task's seed
  std::uint64_t task_seed = 1'000'000;                          // task i has seed `task_seed + i`
  std::uint32_t num_tasks = 20;
  std::uint32_t mutants_per_task = 4;
  std::uint32_t random_calls = 20;  // of the agent that calls anything with anything
};

/// How often something was so.
struct Tally {
  std::uint32_t hits = 0;
  std::uint32_t total = 0;
  void add(bool is_hit) {
    hits += is_hit ? 1 : 0;
    ++total;
  }
  double share() const { return total == 0 ? 0.0 : static_cast<double>(hits) / total; }
};

struct DifficultyLevel {
  std::uint32_t tasks = 0;
  double effort = 0;  // summed up
  double effort_mean() const { return tasks == 0 ? 0.0 : effort / tasks; }
};

/// What came of it. All tallies but `mutants` count feasible tasks.
struct CheckReport {
  std::vector<std::string> problems;  // the first hundred; empty: the environment is sound
  std::uint32_t num_tools = 0;
  std::uint32_t num_worlds = 0;
  std::uint32_t num_infeasible = 0;  // tasks whose solver says so
  Tally oracle;                      // solved by the oracle through the tools, else by the solver
  Tally empty;                       // counted as solved though nothing was submitted
  Tally random;                      // solved by random calls
  Tally mutants;                     // changed solutions that were refused
  double mutants_rejected_min = 0;   // the share of them that the environment promises
  std::map<std::string, std::uint32_t> kinds;
  std::map<std::int64_t, DifficultyLevel> levels;  // of tasks that say how difficult they are
};

/// Tries an environment: its tools compile; worlds and tasks are the same when made again; each
/// feasible task is solved by the oracle through the tools (or the solver's answer passes the
/// verifier), made again the same calls give the same world, and idempotent calls change nothing
/// when repeated; who submits nothing fails; changed solutions are refused; effort grows with
/// difficulty. Fails only when the environment does not open.
Result<CheckReport> check_environment(const CheckOptions& options,
                                      boost::asio::any_io_executor pool);

/// For programs: a JSON object.
std::string check_report_json(const std::string& name, const CheckReport& report);

}  // namespace ponder::tools
