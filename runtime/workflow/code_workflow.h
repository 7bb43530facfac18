#pragma once

#include <memory>

#include "base/result.h"
#include "runtime/workflow/workflow.h"

namespace ponder::runtime {

inline constexpr const char* kCodeWorkflow = "code";

/// Work on a project in a folder of the user's: its files, and programs in a sandbox. The verdict
/// is the test command's: solved when it succeeds at the end. The artefact is changes.patch, what
/// has changed since the last commit.
///
/// Fails when the folder is not there, or this machine cannot keep the sandbox's promises.
Result<std::unique_ptr<Workflow>> open_code_workflow(const WorkflowOptions& options);

/// The same for a session's beginning, with the tools that are added to it now.
Result<std::unique_ptr<Workflow>> reopen_code_workflow(const SessionStarted& start,
                                                       const ToolsetOptions& toolset);

}  // namespace ponder::runtime
