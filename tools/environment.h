#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "tools/fix/sandboxed_run.h"
#include "tools/registry.h"

namespace ponder::tools {

class ProjectWorld;

/// What an environment is made from; the same values make the same world on every machine.
struct WorldOptions {
  std::filesystem::path library;  // the folder of environments
  std::string name;               // "travel": library/travel.lua; or the path of a .lua file
  std::uint64_t seed = 1;
  std::string size = "S";  // S, M or L
  SandboxedRun programs;   // in worlds that are projects
};

/// The environments in a folder, sorted.
std::vector<std::string> environment_names(const std::filesystem::path& library);

/// Whether an environment's name is the path of a file: it has a '/' or ends in ".lua".
bool is_environment_path(std::string_view name);

/// What an environment says of itself (docs/environments.md).
struct EnvironmentCard {
  std::string description;
  std::string instructions;                 // the system prompt
  std::string answer_noun = "answer";       // what a session submits, in words: "plan"
  std::string answer_file = "answer.json";  // the artefact that holds it
  std::string answer_schema;                // JSON Schema; empty: any value
  std::vector<std::string> kinds;           // of tasks; may be empty
  double mutants_rejected_min = 0.9;        // share of wrong answers that the verifier must refuse
  bool has_requests = false;                // it finds tasks in a person's words
  bool has_solver = false;
  bool has_oracle = false;
  bool has_artefacts = false;
  bool is_changeable = false;  // some tools change the world
  bool asks = false;           // a person who is there may be asked
  bool is_project = false;     // a task is a project, whose tests are the verifier
};

/// Something to be done in a world. `json` is the whole task; the rest is read out of it.
struct Task {
  std::string id;
  std::string kind;
  std::string text;  // the words that open the user's turn
  std::optional<std::int64_t> difficulty;
  std::optional<double> effort;  // what it takes, in the environment's own measure
  std::string json;
};

struct Verification {
  bool is_ok = false;
  std::vector<std::string> violations;  // in the order of the rules, with their numbers
  std::string json;                     // all that the verifier said: violations, proof, totals
};

/// What the solver found: an answer, or why there is none.
struct Solution {
  bool is_feasible = false;
  std::string answer_json;  // empty when there is none
  std::string conflict;     // empty when there is an answer
};

/// The judgement of a session. A task is solved by an answer that the verifier accepts, or, when
/// the solver proves that there is none, by submitting none.
struct Judgement {
  bool is_solved = false;
  bool is_submitted = false;
  std::string detail;  // one line: what holds, or the first violation
  Verification verification;
};

struct Artefact {
  std::string file_name;  // without a folder; no hidden file
  std::string content;
};

/// A world written in Lua: a database, tools that read and change it, tasks, a verifier, and a
/// solver or an oracle. docs/environments.md is the interface that the Lua code sees.
///
/// Where `card().is_project`, a task brings a project's files instead: the tools are those for
/// files and programs, and the verifier runs the task's tests in a sandbox. Such an environment has
/// neither answers nor artefacts, and its tools those of the task that begin() was given last.
///
/// One environment serves one session. Its Lua state runs one function at a time: tool calls made
/// in parallel queue on a strand of `pool` and never block the caller's executor; the methods below
/// run on the caller's thread and wait for a call in flight, so call them between turns. Only tools
/// that say so change the world, each call as a whole or not at all, and begin() undoes it all.
/// Lifetime: `pool` and `clock` outlive the environment and its tools; the tools, which share its
/// state, may outlive the environment object. Errors of the Lua code are `internal` with its file
/// and line.
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
  Environment(Key, std::shared_ptr<Host> host, std::unique_ptr<ProjectWorld> project);
  ~Environment();
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

  const std::string& name() const;
  const EnvironmentCard& card() const;
  const std::string& instructions() const { return card().instructions; }
  const WorldOptions& world() const;
  /// What its tools may be granted: nothing of theirs reaches beyond the environment's own world.
  static const std::vector<std::string>& grants();
  /// Adds the environment's tools in its order. The registry may outlive the environment, but for
  /// that of a project, which needs a task (`invalid_argument`).
  Status add_tools(Registry& registry) const;

  /// Draws the task of a seed; `kind` overrules the drawn kind where it is not empty. It is drawn
  /// in the world as it was built: what tools changed is undone, and the task before is over.
  Result<Task> task(std::uint64_t seed, const std::string& kind = "");
  /// The task that the user's words ask for. `invalid_argument` says what was not understood.
  Result<Task> task_from_text(const std::string& text);
  /// A task from its `json`, as it stands in a log or in an artefact.
  Result<Task> task_from_json(const std::string& json);

  /// Makes `task` the one that tools and the verifier see: the world becomes what it was built as,
  /// prepared for the task, and what was submitted is forgotten.
  Status begin(const Task& task);
  /// The submitted answer as JSON; `not_found` when nothing was submitted.
  Result<std::string> submitted();

  // All of these need a task that begin() was called with (`invalid_argument` otherwise).
  /// Puts an answer, and the world as it is now, to the verifier. `invalid_argument` when the
  /// answer does not fit its schema.
  Result<Verification> verify(const std::string& answer_json);
  /// Of the world as the task finds it: ask before tools change it.
  Result<Solution> solve();
  /// The calls by which the environment's oracle solves the task; none when there is nothing to
  /// submit. Ask before tools change the world.
  Result<std::vector<context::ToolCall>> oracle();
  /// `stop` ends the programs that a project's judge runs, with `cancelled`.
  Result<Judgement> judge(std::stop_token stop = {});
  /// The files of a finished task, by name: the environment's own, and where it gives none, the
  /// answer and `proof.json`. `not_found` when nothing was submitted.
  Result<std::vector<Artefact>> artefacts();
  Result<std::vector<Artefact>> artefacts_of(const std::string& answer_json);

  /// All that the world holds and what was submitted, as text: equal for equal worlds. Of a project
  /// what was done to it.
  Result<std::string> dump();

 private:
  std::shared_ptr<Host> host_;             // shared with the tools that are in registries
  std::unique_ptr<ProjectWorld> project_;  // null unless tasks are projects
};

/// The artefact that names the world and the task: {"world": {"name", "seed", "size"}, "task",
/// "calls": [{"tool", "arguments", "key"}]}.
inline constexpr const char* kProofFile = "proof.json";

/// Checks a folder of artefacts without a model: builds the world again from `proof.json`, makes
/// the calls once more that changed it, and puts the answer to the verifier. `corrupt` names the
/// file that is missing or damaged. A proof may name an environment that is a file, but none in
/// `directory`: whoever takes a folder from others must see which environment judged it.
Result<Verification> verify_artefacts(const std::filesystem::path& library,
                                      const std::filesystem::path& directory,
                                      boost::asio::any_io_executor pool);

}  // namespace ponder::tools
