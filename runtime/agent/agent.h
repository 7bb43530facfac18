#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/async/slots.h"
#include "base/async/task_group.h"
#include "base/clock.h"
#include "base/result.h"
#include "runtime/agent/approval.h"
#include "runtime/agent/call_gate.h"
#include "runtime/agent/context_keeper.h"
#include "runtime/agent/event_sink.h"
#include "runtime/agent/question.h"
#include "runtime/model/model_client.h"
#include "runtime/session/event.h"
#include "runtime/session/log_writer.h"
#include "runtime/session/money.h"
#include "runtime/session/session_state.h"
#include "runtime/session/session_store.h"

namespace ponder::runtime {

class CallPlace;
struct CallOutcome;

/// What an agent works with. All outlive it.
struct AgentParts {
  AgentParts(ModelClient& model, const tools::Registry& tools, SessionStore& store,
             const Clock& clock)
      : model(&model), tools(&tools), store(&store), clock(&clock) {}
  ModelClient* model;
  const tools::Registry* tools;
  SessionStore* store;
  const Clock* clock;
  std::vector<std::string> grants;  // capabilities that tools may use; others end in `denied`
  ApprovalPolicy approvals;         // for calls with lasting effects
  QuestionPolicy questions;         // for calls that ask a person
  std::vector<EventSink*> sinks;
  Prices prices;                          // of the model
  Deadline deadline = Deadline::never();  // of every turn, whatever the session's limits
  LogWriter* log_above = nullptr;  // of the agent that this one works for (session/log_writer.h)
};

/// One session at work: asks the model, runs the tools it calls, writes everything down.
///
/// The log is the session: each round looks only at the folded state to decide what comes next, so
/// that a turn that a crash left open goes on like any other. Every call gets one outcome, fed back
/// in call order; an intent is on the disk before its tool starts. What happens at one moment is
/// written at once: a completion with the intents of its calls, the last outcome with the next
/// request. So a step waits for the disk twice. Calls can hand tasks to other agents
/// (runtime/agent/sub_agents.h), which run inside the call, ask a person, and keep notes and values
/// (runtime/agent/session_services.h).
///
/// Thread: one executor whose handlers never run at the same time; all methods are called there.
/// Lifetime: it has the session's lease (session_store.h) and gives it back at its end; it must
/// outlive what its methods return; of run_turn() and resume() one runs at a time.
/// Errors: a turn that ends badly is a TurnEnded, not an Error. An Error means that the log could
/// not be written or read; the session then stays as the log has it and can be opened and resumed,
/// while this agent's state may be ahead of it.
class Agent {
 public:
  ~Agent();
  Agent(const Agent&) = delete;
  Agent& operator=(const Agent&) = delete;

  /// Begins a session: writes SessionStarted.
  static boost::asio::awaitable<Result<std::unique_ptr<Agent>>> start(AgentParts parts,
                                                                      SessionStarted start);
  /// Opens a session from the log. The model may be another than the one that the log names: the
  /// next turn writes that down, forgets the old one's ids and follows the new one's policy.
  static Result<std::unique_ptr<Agent>> open(AgentParts parts, const SessionId& id);

  /// A user turn from its message to its end. A turn that was left open is closed first; words that
  /// still wait from an earlier turn come first in the message.
  boost::asio::awaitable<Result<TurnEnded>> run_turn(std::string user_text);
  /// Goes on with the open turn, or begins one with words that wait; `invalid_argument` when there
  /// is neither. Calls that were under way
  /// run again when they are pure or idempotent, others become `interrupted`.
  boost::asio::awaitable<Result<TurnEnded>> resume();
  /// Words for the turn that runs: the next tool result carries them, so that the turn keeps its
  /// reasoning. If no result comes before the answer, they open the next turn at once, within the
  /// same run_turn() or resume(); if the turn ends otherwise, they begin the next user message.
  /// They are on the disk when this returns. `invalid_argument` when no turn runs or it is about to
  /// end: then run_turn() is the way.
  boost::asio::awaitable<Status> steer(std::string words);
  /// Ends the turn that runs, the request or calls under way included, and begins a new one with
  /// the words, within the same run_turn() or resume(). Otherwise as steer().
  boost::asio::awaitable<Status> send(std::string words);
  /// From now on no cut takes the message that came from this event (runtime/agent/pins.h), or one
  /// may again.
  boost::asio::awaitable<Status> pin(std::int64_t message_seq, bool is_pinned);
  /// Ends the turn under way soon and cleanly, with TurnEnd::cancelled; without one it does
  /// nothing. Cancelling the coroutine that runs the turn does the same, also before the turn has
  /// begun.
  void cancel();
  /// Ends one of the calls that are under way or wait, with Outcome::cancelled; the turn goes on.
  /// `call_index` counts from 0 in the latest completion. `not_found` when that call is not open.
  Status cancel_call(std::uint32_t call_index);
  /// From now on these limits bound what the session may cost, and the steps, tokens and time of
  /// its turns; the time from the next turn, or the next resume(), on. The other limits stay.
  boost::asio::awaitable<Status> set_budget(Limits limits);
  /// Closes the turn, if one was left open, and those of the sub-agents that worked for it.
  boost::asio::awaitable<Status> close_open_turn();
  /// Writes down what the workflow made of the turn.
  boost::asio::awaitable<Status> record(WorkflowFinished finished);

  const SessionId& id() const { return id_; }
  const SessionState& state() const { return state_; }

 private:
  friend class SessionServices;
  friend class SubAgentCaller;
  Agent(AgentParts parts, SessionId id, SessionState state);

  boost::asio::awaitable<Result<TurnEnded>> drive();
  boost::asio::awaitable<Result<TurnEnded>> run_rounds();
  /// Writes the message that opens a turn: the words that wait, then `text`.
  boost::asio::awaitable<Status> begin_turn(std::string text);
  boost::asio::awaitable<Status> interject(std::string words, bool ends_turn);
  /// Whether words that wait open the next turn now.
  bool goes_on_after(const TurnEnded& end) const;
  /// Whether requests and calls under way are to stop.
  bool is_stopping() const { return is_cancelled_ || state_.is_superseded; }
  /// Writes down that the session goes on with another model than the one in its log.
  boost::asio::awaitable<Status> note_model();
  /// Goes over to chat mode when tool output comes in user messages, and writes that down.
  boost::asio::awaitable<Status> note_mode();
  /// The reason to end the turn before the next round, if there is one.
  std::optional<TurnEnded> stop_before_round() const;
  /// The same, of tokens and of money; what void_usage_ has counts.
  std::optional<TurnEnded> stop_for_tokens() const;
  std::optional<TurnEnded> stop_for_cost() const;
  /// Cuts the conversation as was decided; the reason to end the turn if it cannot.
  boost::asio::awaitable<Result<std::optional<TurnEnded>>> cut_context(
      ContextKeeper::Decision decision);
  // In agent_request.cpp:
  boost::asio::awaitable<Result<std::optional<TurnEnded>>> ask_model();
  /// What the tools say their parameters can be, if that is not what they said before.
  boost::asio::awaitable<std::optional<ToolValues>> changed_values();
  boost::asio::awaitable<void> ask_tools(ToolValues* values);
  /// The answer to a request; `cancelled` when the turn was.
  boost::asio::awaitable<Result<Completion>> complete(ModelRequest request, ModelSink sink);
  /// Takes down what an answer cost that came to no end; an error when that was the last of a
  /// budget.
  Status take_void(const Usage& usage);
  // In agent_calls.cpp:
  boost::asio::awaitable<Status> answer_calls();
  /// From the intent to the outcome; waits while too many calls of the tool are under way.
  boost::asio::awaitable<void> run_call(std::uint32_t call_index);
  boost::asio::awaitable<void> run_tool(std::uint32_t call_index, tools::Tool* tool,
                                        CallPlace* place);
  /// Moves from `outcome`, of which the step and the index need not be set.
  boost::asio::awaitable<void> finish_call(std::uint32_t call_index, CallOutcome& outcome);
  /// Where calls of the tool take their places; nullptr when any number may run.
  Slots* slots_for(const boost::asio::any_io_executor& executor, const tools::Tool& tool);
  /// Asks a person about a call, writes down the question and the answer, and acts on it.
  boost::asio::awaitable<void> approve_call(std::uint32_t call_index);
  GateRules gate_rules() const { return {&parts_.grants, &parts_.approvals, is_cancelled_}; }
  boost::asio::awaitable<Result<TurnEnded>> end_turn(TurnEnded end);
  /// Writes events, behind those that were noted. The state has them at once, the sinks when they
  /// are on the disk, which is when this returns.
  boost::asio::awaitable<Status> append(std::vector<Event> events, std::vector<Blob> blobs = {});
  /// Writes what was noted; an error stays in the log writer.
  boost::asio::awaitable<void> write_noted();
  /// Leaves the writing to the next append. Requires: that comes before anybody acts upon it.
  void note(Event event);
  Toolbox toolbox() const { return {parts_.tools, &builtin_tools_}; }

  AgentParts parts_;
  SessionId id_;
  SessionState state_;
  ContextKeeper keeper_;
  tools::Registry builtin_tools_;  // runtime/agent/blob_tool.h, runtime/agent/agent_tool.h
  std::vector<Event> noted_;       // the last of state_, not handed to the store yet
  std::vector<Blob> noted_blobs_;  // that they refer to
  Deadline turn_deadline_ = Deadline::never();
  Usage void_usage_;  // of a request without an answer; not in the log yet
  bool is_cancelled_ = false;
  std::map<std::uint32_t, TaskGroup::ChildId> open_calls_;  // in active_, while calls are answered
  std::map<std::string, Slots> slots_;                      // by tool
  bool takes_words_ = false;                                // a turn runs and is not about to end
  TaskGroup* active_ = nullptr;  // the model request, the calls or the tools' values under way
  LogWriter log_;
};

}  // namespace ponder::runtime
