#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "base/result.h"
#include "runtime/session/event.h"
#include "runtime/session/session_state.h"
#include "runtime/session/session_store.h"
#include "runtime/workflow/toolset.h"
#include "tools/code/code_tools.h"

namespace ponder::tools {
class Registry;
}

namespace ponder::runtime {

/// What "fix" takes beside the project.
struct FixOptions {
  std::vector<std::string> protects;  // globs of further files that the agent may not change
  std::uint32_t repeats = 2;          // runs of the tests, to find those that are flaky
  std::filesystem::path tasks;        // a folder of tasks instead of a project
};

/// What to open a workflow with.
struct WorkflowOptions {
  std::string name;               // "assistant", "code", "fix", or an environment: "travel"
  std::filesystem::path library;  // the folder of environments, see DataDirs
  std::uint64_t world_seed = 1;
  std::string size = "S";                  // S, M or L
  std::optional<std::uint64_t> task_seed;  // a generated task; otherwise the user's own words
  std::string task_kind;                   // of the generated task; empty: drawn
  std::string request;                     // the user's own words; may be empty for a chat
  std::filesystem::path directory;         // absolute, for artefacts; empty: none are wanted
  tools::CodeProject project;  // of "code" and "fix", which copies its folder; environments of
                               // projects take its sandbox
  FixOptions fix;
  bool has_person = false;  // somebody answers what the model asks
  ToolsetOptions toolset;   // what is added to the tools; of environments, what is named
};

/// What a person says when a session goes on. It counts instead of what the log says.
struct ReopenOptions {
  ToolsetOptions toolset;                     // what is added to its tools; not in the log
  std::optional<tools::CodeProject> project;  // of "code"
  std::filesystem::path directory;            // absolute, for artefacts; empty: as the log says
};

/// The verifier's word on a finished session.
struct WorkflowVerdict {
  bool is_solved = false;
  bool is_checked = true;   // false: nothing could be checked, and "solved" means "answered"
  bool has_answer = false;  // something was submitted; without, "solved" means that nothing fits
  std::string detail;  // one line: what holds, or the first constraint that fails with its numbers
  std::string report;  // JSON object: every constraint with its values
};

/// A named bundle: a world with tools, instructions, tasks, a verifier and artefacts.
///
/// Thread: one at a time; what blocks in its tools runs on a thread that it owns. Lifetime:
/// outlives the agents that use its tools.
class Workflow {
 public:
  /// Fails with not_found (no such workflow; names the known ones), invalid_argument (an impossible
  /// task, an unknown size) or what the environment says.
  static Result<std::unique_ptr<Workflow>> open(const WorkflowOptions& options);
  /// The workflow of a session as it was after all that the log tells: what the user said, and the
  /// calls that changed the world (those that are idempotent) once more, in the place of a call
  /// that had sub-agents theirs. For resuming and judging.
  ///
  /// The log of a session that was brought in from elsewhere (SessionState::is_foreign) has no say
  /// in where something is written or what is run: no artefacts without `how.directory`, and
  /// `invalid_argument` for "code" without `how.project` and for "fix", whose copy is not here.
  static Result<std::unique_ptr<Workflow>> reopen(const std::filesystem::path& library,
                                                  const SessionId& session,
                                                  const SessionState& state,
                                                  const SessionStore& store,
                                                  const ReopenOptions& how = {});
  virtual ~Workflow() = default;

  virtual const std::string& name() const = 0;
  virtual const tools::Registry& registry() const = 0;
  virtual const std::vector<std::string>& grants() const = 0;
  /// The text that opens the turn: the generated task's words, or the user's own.
  virtual const std::string& request() const = 0;
  /// The kind of a generated task, such as "three_days_conditional"; "free" for the user's own.
  virtual const std::string& task_kind() const = 0;
  /// Where the artefacts are wanted; in the log, so that whoever goes on knows it. Empty: nowhere.
  virtual const std::filesystem::path& directory() const = 0;
  /// Whether its tools reach nothing but a copy of its own, which is thrown away: its calls need
  /// nobody's word.
  virtual bool is_contained() const { return false; }
  /// Fills workflow, instructions, tools and environment; the caller adds model and sampling.
  virtual SessionStarted session_start() const = 0;

  /// In a chat, before each turn: when the user's words state a task, it becomes the current one
  /// (and what was submitted for the last is forgotten); otherwise the current task stays.
  virtual Status hear(const std::string& user_text) = 0;

  /// Judges what the session submitted. A session that submitted nothing is not solved. Blocks, for
  /// minutes where a project's tests are run; a stop request ends those at once, with `cancelled`,
  /// and the session can be judged another time.
  virtual Result<WorkflowVerdict> judge(const SessionState& state, std::stop_token stop) = 0;
  Result<WorkflowVerdict> judge(const SessionState& state) { return judge(state, {}); }
  /// Writes the artefacts and gives their names. Files in `dir` with these names are replaced; each
  /// is at any time whole or not there (whole_file.h).
  virtual Result<std::vector<std::string>> write_artefacts(const std::filesystem::path& dir,
                                                           const SessionId& session,
                                                           const SessionState& state) = 0;
};

/// Checks a folder of artefacts without a model. `corrupt` when files are missing or damaged.
Result<WorkflowVerdict> verify_artefacts(const std::filesystem::path& library,
                                         const std::filesystem::path& dir);

}  // namespace ponder::runtime
