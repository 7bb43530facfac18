#pragma once

#include <memory>

#include "base/result.h"
#include "runtime/workflow/workflow.h"

namespace ponder::runtime {

inline constexpr const char* kAssistantWorkflow = "assistant";

/// A helper for any request, with the user's own tools, the web and MCP servers (WorkflowOptions::
/// toolset), a list of things to do and questions to the person. Nothing is verified; the artefact
/// is answer.md, the last answer.
Result<std::unique_ptr<Workflow>> open_assistant_workflow(const WorkflowOptions& options);

/// The same for a session's beginning, with the tools that there are now.
Result<std::unique_ptr<Workflow>> reopen_assistant_workflow(const SessionStarted& start,
                                                            const ToolsetOptions& toolset);

}  // namespace ponder::runtime
