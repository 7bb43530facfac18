#include "runtime/workflow.h"

#include "runtime/code_workflow.h"
#include "runtime/environment_workflow.h"
#include "runtime/fix_workflow.h"

namespace ponder::runtime {

Result<std::unique_ptr<Workflow>> Workflow::open(const WorkflowOptions& options) {
  if (options.name == kCodeWorkflow) return open_code_workflow(options);
  if (options.name == kFixWorkflow || options.name == kCodeFixTasks) {
    return open_fix_workflow(options);
  }
  return open_environment_workflow(options);
}

Result<std::unique_ptr<Workflow>> Workflow::reopen(const std::filesystem::path& library,
                                                   const SessionId& session,
                                                   const SessionState& state,
                                                   const SessionStore& store) {
  if (!state.start) return fail(Errc::corrupt, "the session has no readable beginning");
  if (state.start->workflow == kCodeWorkflow) return reopen_code_workflow(*state.start);
  if (state.start->workflow == kFixWorkflow) return reopen_fix_workflow(*state.start);
  return reopen_environment_workflow(library, session, state, store);
}

}  // namespace ponder::runtime
