#include "runtime/workflow/workflow.h"

#include "runtime/workflow/assistant_workflow.h"
#include "runtime/workflow/code_workflow.h"
#include "runtime/workflow/environment_workflow.h"
#include "runtime/workflow/fix_workflow.h"

namespace ponder::runtime {

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
                                                   const ToolsetOptions& toolset) {
  if (!state.start) return fail(Errc::corrupt, "the session has no readable beginning");
  const std::string& name = state.start->workflow;
  if (name == kCodeWorkflow) return reopen_code_workflow(*state.start, toolset);
  if (name == kAssistantWorkflow) return reopen_assistant_workflow(*state.start, toolset);
  if (name == kFixWorkflow) return reopen_fix_workflow(*state.start);
  return reopen_environment_workflow(library, session, state, store, toolset);
}

}  // namespace ponder::runtime
