#include "runtime/workflow/workflow.h"

#include <nlohmann/json.hpp>

#include "runtime/workflow/assistant_workflow.h"
#include "runtime/workflow/code_workflow.h"
#include "runtime/workflow/environment_workflow.h"
#include "runtime/workflow/fix_workflow.h"

namespace ponder::runtime {
namespace {

using nlohmann::json;

/// Whoever made the log of a session from elsewhere could write what he liked: a command that is
/// run without a question, or somebody's folder.
Status expect_no_foreign_word(const SessionState& state, const ReopenOptions& how) {
  if (!state.is_foreign) return {};
  const std::string& name = state.started().workflow;
  if (name == kCodeWorkflow && !how.project) {
    return fail(Errc::invalid_argument,
                "the session was imported, so its log does not say where to work or what to run: "
                "give --folder DIR, and --test CMD if there are tests");
  }
  if (name == kFixWorkflow) {
    return fail(Errc::invalid_argument,
                "the session was imported, and its copy of the project is not: ponder fix begins "
                "anew");
  }
  return {};
}

/// The log's environment with what the person says in the place of what it says. What is no object
/// stays as it is, for others to refuse.
std::string environment_as_said(const SessionState& state, const ReopenOptions& how) {
  json environment = json::parse(state.started().environment, nullptr, /*allow_exceptions=*/false);
  if (!environment.is_object()) return state.started().environment;
  if (state.is_foreign || !how.directory.empty()) environment["directory"] = how.directory.string();
  if (how.project) {
    environment["folder"] = how.project->folder.string();
    environment["test_command"] = how.project->test_command;
    environment["test_reports"] = how.project->test_reports;
    environment["sandbox"] = tools::isolation_name(how.project->isolation);
  }
  return environment.dump(-1, ' ', false, json::error_handler_t::replace);
}

Result<std::unique_ptr<Workflow>> reopen_as_logged(const std::filesystem::path& library,
                                                   const SessionId& session,
                                                   const SessionState& state,
                                                   const SessionStore& store,
                                                   const ToolsetOptions& toolset) {
  const std::string& name = state.started().workflow;
  if (name == kCodeWorkflow) return reopen_code_workflow(state.started(), toolset);
  if (name == kAssistantWorkflow) return reopen_assistant_workflow(state.started(), toolset);
  return reopen_environment_workflow(library, session, state, store, toolset);
}

}  // namespace

Result<std::unique_ptr<Workflow>> Workflow::open(const WorkflowOptions& options) {
  if (options.name == kCodeWorkflow) return open_code_workflow(options);
  if (options.name == kFixWorkflow) return open_fix_workflow(options);
  if (options.name == kAssistantWorkflow) return open_assistant_workflow(options);
  return open_environment_workflow(options);
}

Result<std::unique_ptr<Workflow>> Workflow::reopen(const std::filesystem::path& library,
                                                   const SessionId& session,
                                                   const SessionState& state,
                                                   const SessionStore& store,
                                                   const ReopenOptions& how) {
  if (!state.start) return fail(Errc::corrupt, "the session has no readable beginning");
  PONDER_CHECK(expect_no_foreign_word(state, how));
  const std::string& name = state.start->workflow;
  if (name == kFixWorkflow) return reopen_fix_workflow(*state.start);
  if (!state.is_foreign && !how.project && how.directory.empty()) {
    return reopen_as_logged(library, session, state, store, how.toolset);
  }
  SessionState said = state;
  said.start->environment = environment_as_said(state, how);
  return reopen_as_logged(library, session, said, store, how.toolset);
}

}  // namespace ponder::runtime
