#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "tools/registry.h"

namespace ponder::tools {

/// What an environment is made from; the same values make the same world on every machine.
struct WorldOptions {
  std::filesystem::path library;  // the folder of environments
  std::string name;               // "travel": library/travel.lua
  std::uint64_t seed = 1;
  std::string size = "S";  // S, M or L
};

/// Something to be done in a world. `json` is the whole task; the rest is read out of it.
struct Task {
  std::string id;
  std::string kind;
  std::string text;  // the words that open the user's turn
  std::string json;
};

struct Verification {
  bool is_ok = false;
  std::vector<std::string> violations;  // in the order of the rules, with their numbers
  std::string json;                     // all that the verifier said: violations, proof, totals
};

/// What the solver found: a plan, or why there is none.
struct Solution {
  bool is_feasible = false;
  std::string plan_json;  // empty when there is none
  std::string conflict;   // empty when there is a plan
};

/// The judgement of a session. A task is solved by a plan that the verifier accepts, or, when the
/// solver proves that there is no plan, by submitting none.
struct Judgement {
  bool is_solved = false;
  bool is_submitted = false;
  std::string detail;  // one line: what holds, or the first violation
  Verification verification;
};

struct Artefact {
  std::string file_name;
  std::string content;
};

/// A world written in Lua: a database, tools that read it, tasks, a verifier and a solver.
///
/// One environment serves one session. Its Lua state runs one function at a time: tool calls made
/// in parallel queue on a strand of `pool` and never block the caller's executor; the methods below
/// run on the caller's thread and wait for a call in flight, so call them between turns. The world
/// does not change after open(): tools get a read-only `ctx.sql`. Lifetime: `pool` and `clock`
/// outlive the environment and its tools; the tools, which share its state, may outlive the
/// environment object. Errors of the Lua code are `internal` with its file and line.
class Environment {
 public:
  /// Loads `library/name.lua` and builds its world. `not_found` names the environments there are.
  static Result<std::unique_ptr<Environment>> open(const WorldOptions& options,
                                                   boost::asio::any_io_executor pool,
                                                   const Clock& clock = system_clock());
  class Host;
  class Key {  // only open() makes environments
    friend class Environment;
    Key() = default;
  };
  Environment(Key, std::shared_ptr<Host> host);
  ~Environment();
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

  const std::string& name() const;
  const std::string& instructions() const;
  const WorldOptions& world() const;
  /// Adds the environment's tools in its order. The registry may outlive the environment.
  Status add_tools(Registry& registry) const;

  /// Draws the task of a seed; `kind` overrules the drawn kind where it is not empty.
  Result<Task> task(std::uint64_t seed, const std::string& kind = "");
  /// The task that the user's words ask for. `invalid_argument` says what was not understood.
  Result<Task> task_from_text(const std::string& text);
  /// A task from its `json`, as it stands in a log or in an artefact.
  Result<Task> task_from_json(const std::string& json);

  /// Makes `task` the one that tools and the verifier see, and forgets what was submitted.
  Status begin(const Task& task);
  /// The submitted plan as JSON; `not_found` when nothing was submitted.
  Result<std::string> submitted_plan();

  // All of these need a task that begin() was called with (`invalid_argument` otherwise).
  /// `invalid_argument` when the plan is no JSON array.
  Result<Verification> verify(const std::string& plan_json);
  Result<Solution> solve();
  Result<Judgement> judge();
  /// The files that a finished trip consists of, by name. `not_found` when nothing was submitted.
  Result<std::vector<Artefact>> artefacts();
  Result<std::vector<Artefact>> artefacts_of(const std::string& plan_json);

 private:
  std::shared_ptr<Host> host_;  // shared with the tools that are in registries
};

/// Checks a folder of artefacts without a model: builds the world again from `proof.json` and puts
/// the plan of `itinerary.json` to the verifier. `corrupt` names the file that is missing or
/// damaged.
Result<Verification> verify_artefacts(const std::filesystem::path& library,
                                      const std::filesystem::path& directory,
                                      boost::asio::any_io_executor pool);

}  // namespace ponder::tools
