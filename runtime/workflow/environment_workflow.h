#pragma once

#include <filesystem>
#include <memory>

#include "base/result.h"
#include "runtime/workflow/workflow.h"

namespace ponder::runtime {

/// Workflow::open for an environment written in Lua; "travel" is library/travel.lua. Beside the
/// environment's own tools there are those of `toolset` when the command line names them, and
/// `ask_user` where somebody is there and the environment wants it: what an environment measures
/// does not depend on the configuration that is always read.
Result<std::unique_ptr<Workflow>> open_environment_workflow(const WorkflowOptions& options);

/// Workflow::reopen for one. Requires: the state has its beginning.
Result<std::unique_ptr<Workflow>> reopen_environment_workflow(const std::filesystem::path& library,
                                                              const SessionId& session,
                                                              const SessionState& state,
                                                              const SessionStore& store,
                                                              const ToolsetOptions& toolset);

}  // namespace ponder::runtime
