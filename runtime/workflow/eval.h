#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "runtime/model/model_client.h"
#include "runtime/session/event.h"
#include "runtime/session/session_store.h"
#include "runtime/workflow/workflow.h"

namespace ponder::runtime {

/// The world of a generated task: ten tasks share one, and worlds of seeds from 1,000,000 on are
/// never used in training (scripts/train/generate.py draws them by the same rule).
std::uint64_t world_seed_of(std::uint64_t task_seed);

/// A run of many generated tasks, each in its own session.
struct EvalOptions {
  std::string workflow = "travel";
  std::filesystem::path library;
  std::uint32_t count = 200;
  std::uint64_t seed = 1;  // task i has seed `seed + i`
  std::string kind;        // of task, as the environment understands it; empty: all
  std::string size = "S";
  Sampling sampling;
  Limits limits;
  std::uint32_t concurrency_max = 1;                        // sessions at once on one model
  FixOptions fix;                                           // of "fix": the folder of tasks
  tools::Isolation isolation = tools::Isolation::isolated;  // where tasks are projects
  std::vector<std::filesystem::path> readable;              // and what their sandbox shows
};

struct EvalCase {
  std::uint64_t task_seed = 0;
  std::string kind;   // "not opened" when the task itself was at fault
  SessionId session;  // empty then
  bool is_solved = false;
  std::string reason;   // one of few: "wrong answer", "no answer", "not opened", "not judged", the
                        // turn's end; empty if solved
  std::string failure;  // why not: the turn's end or the verifier's words; empty when solved
  TurnEnd end = TurnEnd::answered;
  std::uint32_t steps = 0;  // completions
  std::uint32_t tool_calls = 0;
  std::uint32_t malformed_calls = 0;
  std::uint32_t damaged_completions = 0;
  Usage usage;
  double elapsed_ms = 0;
};

struct EvalReport {
  std::string model;
  EvalOptions options;
  std::vector<EvalCase> cases;      // those that are done, in the order of their seeds
  std::optional<Error> broken_off;  // why they are not all
  double elapsed_ms = 0;
};

/// A share with its 95% confidence interval after Wilson (1927).
struct Share {
  std::uint32_t hits = 0;
  std::uint32_t total = 0;
  double value = 0;
  double low = 0;
  double high = 1;
};
Share wilson_share(std::uint32_t hits, std::uint32_t total);

/// Runs the tasks. `on_case` is called as each ends. A task whose turn ends badly, which cannot be
/// opened or cannot be judged counts as not solved, and says why. A broken log ends the run, and so
/// does cancelling the coroutine (Errc::cancelled): the report is of what was done until then, and
/// where that is nothing it is an Error. What no task at all can be opened for is an Error, such as
/// an environment that is not there.
///
/// What blocks runs on threads of the run's own: the caller's executor stays free meanwhile.
boost::asio::awaitable<Result<EvalReport>> run_eval(ModelClient& model, SessionStore& store,
                                                    const Clock& clock, EvalOptions options,
                                                    std::function<void(const EvalCase&)> on_case);

/// For people, and for programs.
std::string eval_table(const EvalReport& report);
std::string eval_json(const EvalReport& report);

}  // namespace ponder::runtime
