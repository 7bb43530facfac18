#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "runtime/session/event.h"
#include "runtime/session/session_state.h"
#include "tools/tool.h"

namespace ponder::runtime {

class Agent;

/// The session of the n-th sub-agent of a call. The same whenever the call is made, so that a call
/// that is made again after a crash finds the sub-agent that it had; the parent's id, a dot and the
/// call's place, so that people see whose it is.
std::string sub_agent_id(const SessionId& parent, std::int64_t completion_seq,
                         std::uint32_t call_index, std::uint32_t n);
/// Whether a session of this id is a sub-agent's, and whose. Empty: a person began it.
std::string_view parent_of_sub_agent(std::string_view id);
/// Whether what a session's log calls its sub-agent is one. A log that was brought in under another
/// id can name those of the session it was copied from, which are at work for that one.
bool is_sub_agent_of(const SessionId& parent, std::string_view id);

/// The sub-agents of one call: sessions of their own, which run inside the call.
///
/// A sub-agent has the workflow and the model of its parent, those of its tools that it was given,
/// and a budget: an equal share of what the parent's turn has left, for the parent, this call, and
/// each other call of the tool `agent` that waits for its own. It asks the same person for
/// approvals and ends with the parent's turn at the latest. Its own message is the task and nothing
/// else; a fork has the parent's history up to the call, where it finds the task as the result.
///
/// The parent's log says SubAgentStarted before the session exists and SubAgentFinished before the
/// call's result, the other's says TaskAssigned. A crash at any place between leaves what the next
/// run of the call goes on from: no task is worked on twice, no use is counted twice. A log that
/// cannot be written, of any agent of the tree, ends the turns of all of them like a crash.
///
/// Thread: the parent's executor. Lifetime: the call; the parent outlives it.
class SubAgentCaller final : public tools::AgentCaller {
 public:
  SubAgentCaller(Agent& parent, std::uint32_t call_index);

  boost::asio::awaitable<Result<tools::ToolOutput>> run(tools::AgentTask task) override;

  /// Closes the turns of the sub-agents that the open calls of a turn left, or one of the calls.
  static boost::asio::awaitable<Status> close(Agent& parent,
                                              std::optional<std::uint32_t> call_index = {});

 private:
  boost::asio::awaitable<Result<tools::ToolOutput>> run_nth(std::uint32_t n, tools::AgentTask task);
  /// What came of one that has ended, by the parent's log: it gave its budget back, so nothing of
  /// it runs any more.
  boost::asio::awaitable<Result<tools::ToolOutput>> outcome_of(SessionId child);
  /// Writes down that there will be a sub-agent. Fails with what keeps it from being.
  boost::asio::awaitable<Status> announce(std::string child, tools::AgentTask task);
  /// Makes the session, unless it has begun. `assigned` is what it begins with.
  boost::asio::awaitable<Status> begin_alone(SessionId child, TaskAssigned assigned,
                                             std::string task);
  boost::asio::awaitable<Status> begin_fork(SessionId child, TaskAssigned assigned,
                                            std::string task);
  /// Appends to the sub-agent's log, and shows what it appended.
  boost::asio::awaitable<Status> write(SessionId child, std::int64_t last_seq,
                                       std::vector<Event> events);
  /// Runs it to the end of its turn, or finds that it was there, and writes that down.
  boost::asio::awaitable<Result<tools::ToolOutput>> work(SessionId child);
  /// The call's result without one. Where the store is to blame the parent's turn ends as well.
  Result<tools::ToolOutput> no_agent(const Error& error);
  Result<SubAgentBudget> budget_for(const tools::AgentTask& task) const;
  Result<std::vector<std::string>> tools_for(const tools::AgentTask& task) const;
  Result<TaskAssigned> assignment(const std::string& child, const tools::AgentTask& task) const;

  Agent* parent_;
  std::int64_t completion_seq_;
  std::uint32_t call_index_;
  std::uint32_t next_ = 0;
};

}  // namespace ponder::runtime
