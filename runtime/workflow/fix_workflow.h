#pragma once

#include <memory>

#include "base/result.h"
#include "runtime/workflow/workflow.h"
#include "tools/environment.h"

namespace ponder::runtime {

inline constexpr const char* kFixWorkflow = "fix";

/// Mends a project so that a failing test passes (docs/fixing-code.md): the folder and the words of
/// the options, or, with FixOptions::tasks, the n-th task of that folder.
///
/// The project is copied to a folder of ours below /var/tmp, which lasts until the session has been
/// judged; the agent works on the copy, and FixJudge on others. Artefacts: fix.patch (when it is
/// fixed), before.xml and after.xml (JUnit), report.json, report.md, trajectory.json.
///
/// Fails when the tests report nothing, or this machine cannot keep the sandbox's promises.
Result<std::unique_ptr<Workflow>> open_fix_workflow(const WorkflowOptions& options);

/// The same for a task that an environment of projects drew; the instructions are the
/// environment's, where it has some.
Result<std::unique_ptr<Workflow>> open_project_workflow(const WorkflowOptions& options,
                                                        const tools::Task& task,
                                                        const std::string& instructions);

/// The same for a session's beginning. `not_found` when its copy is gone.
Result<std::unique_ptr<Workflow>> reopen_fix_workflow(const SessionStarted& start);

}  // namespace ponder::runtime
