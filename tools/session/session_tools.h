#pragma once

#include "base/result.h"
#include "tools/registry.h"

/// Tools that work with the session they run in, through ToolContext::services, and with nothing
/// else: they need no grant.
namespace ponder::tools {

inline constexpr const char* kAskUserTool = "ask_user";
inline constexpr const char* kTodoTool = "todo";
/// Where `todo` keeps its list, as lines for people: "[x] done", "[>] in progress", "[ ] pending".
inline constexpr const char* kTodoKey = "list";

struct SessionToolOptions {
  bool has_person = false;  // somebody can be asked: there is an `ask_user`
  bool has_todo = true;
};

/// Adds `todo`, unless it is not wanted, and, with a person, `ask_user`. Both are idempotent: made
/// again after a crash, `ask_user` has the answer that was given, and `todo` writes the list that
/// it wrote.
Status add_session_tools(Registry& registry, const SessionToolOptions& options);

}  // namespace ponder::tools
