#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "runtime/agent/approval.h"
#include "runtime/session/event.h"
#include "runtime/session/session_state.h"
#include "tools/registry.h"

/// Decides, from a session's state alone, which of the open calls run and what the others are told.
namespace ponder::runtime {

/// The tools of a session: the workflow's, and those that the runtime brings itself, which exist
/// only while there is something in it for them.
struct Toolbox {
  const tools::Registry* workflow;
  const tools::Registry* builtin;
  /// Where to look for a tool of that name.
  const tools::Registry& registry_for(const SessionState& state, std::string_view name) const;
};

struct CallPlan {
  // Outcomes of those that do not run; of those that do, the intent and that they start, which they
  // may once both are on the disk.
  std::vector<Event> events;
  std::vector<std::uint32_t> runnable;  // indices into SessionState::calls
  std::vector<std::uint32_t> to_ask;    // these wait for a person's word
};

/// What a gate is told that the state does not hold.
struct GateRules {
  const std::vector<std::string>* grants;  // capabilities
  const ApprovalPolicy* approvals;
  bool is_cancelled = false;
};

/// A call runs when its tool exists, was granted (to a sub-agent: was given to it) and takes its
/// arguments, it has not been repeated too often (nor at all when for some steps nothing new has
/// come), and nobody cancelled or began a new turn. A call that an earlier run intended runs
/// again only when it is pure or idempotent; otherwise its outcome is `interrupted`. One with a
/// lasting effect waits for a person's word, unless the log holds one for exactly this call.
CallPlan plan_calls(const SessionState& state, const Toolbox& tools, const GateRules& rules);
/// The same for one call.
CallPlan plan_call(const SessionState& state, std::uint32_t call_index, const Toolbox& tools,
                   const GateRules& rules);

/// The outcome of a call that was cancelled, or superseded by a new turn, before it began.
ToolFinished cancelled_before_it_began(const SessionState& state);

/// The open call that a person means: by its tool's name, or by its place from 1. `not_found` when
/// there is none, `invalid_argument` when several have the name.
Result<std::uint32_t> choose_call(const SessionState& state, std::string_view which);

/// Whether calls of the session may start sub-agents.
bool may_have_sub_agents(const SessionState& state);

/// What a tool's effect is known by outside (tools::ToolContext): the session, the event of the
/// completion that made the call, and the call's place in it. None of these change when the session
/// is opened again.
std::string idempotency_key(const SessionId& session, std::int64_t completion_seq,
                            std::size_t call_index);

/// Outcomes for all open calls of a turn that nobody will go on with.
std::vector<Event> interrupt_open_calls(const SessionState& state);

/// The name of a tool that was called again after it had been refused for repetition.
std::optional<std::string> repeated_beyond_warning(const SessionState& state);

}  // namespace ponder::runtime
