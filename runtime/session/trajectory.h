#pragma once

#include <string>

#include "runtime/session/session_lines.h"

/// A session for others to read.
namespace ponder::runtime {

/// An ATIF v1.4 trajectory: one JSON object (Agent Trajectory Interchange Format,
/// https://github.com/laude-institute/harbor/blob/main/docs/rfcs/0001-trajectory-format.md). System
/// message, user turns and completions are its steps; results are the observations of the step that
/// made the calls; sampled ids are its completion_token_ids. `version` is ponder's.
std::string to_atif(const SessionCopy& session, const std::string& version);

/// Markdown for people: turns as headings, reasoning quoted, calls and results as code.
std::string to_markdown(const SessionCopy& session);

}  // namespace ponder::runtime
