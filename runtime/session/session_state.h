#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "context/message.h"
#include "context/shared_conversation.h"
#include "runtime/session/event.h"
#include "runtime/session/money.h"

namespace ponder::runtime {

/// A question that a call asked a person.
struct QuestionState {
  QuestionAsked asked;
  std::optional<QuestionAnswered> answered;
};

/// One call of the latest completion and how far it got.
struct CallState {
  context::ToolCall call;
  /// What it is known by among those of its turn: its name and canonical arguments, so that the
  /// order of keys and spaces make no other call.
  std::pair<std::string, std::string> key = {};
  std::string fault;                    // not empty: must not run
  std::optional<tools::Effect> effect;  // set once intended
  bool is_started = false;
  std::optional<ApprovalAnswered> approval;  // the latest answer about it
  std::vector<QuestionState> questions;      // in the order in which it asks them
  std::optional<ToolFinished> finished;
  std::int64_t finished_seq = 0;
};

/// A session that a call of this one started.
struct SubAgentState {
  SubAgentStarted started;
  std::int64_t completion_seq = 0;  // the event that made the call
  bool is_finished = false;
};

/// How often a call was made in the open turn: a tool with arguments of the same values.
struct CallCount {
  std::uint32_t times = 0;
  /// The latest of these, which nothing set apart: no result that differed from the one before, and
  /// no other call that may have changed what it looks at.
  std::uint32_t in_row = 0;
  std::optional<std::size_t> result;    // a hash of the latest one, if any ran
  std::uint32_t effects = 0;            // its runs, where it is more than pure
  std::uint32_t effects_of_others = 0;  // in the turn, as it was made last
};

/// What the latest completion of the open turn amounts to.
struct CompletionState {
  bool is_cut_off = false;  // by a limit, or its calls were not closed: nothing of it runs
  bool has_calls = false;
  bool says_nothing = false;  // nothing but reasoning and blanks
};

/// A session as its log tells it. A pure function of the events; apply() is the only writer.
struct SessionState {
  std::optional<SessionStarted> start;
  std::optional<TaskAssigned> task;  // set: the session is a sub-agent
  std::int64_t task_seq = 0;         // where it became one
  /// What the next prompt is made from: complete call blocks only, results in call order.
  context::SharedConversation conversation;
  std::vector<std::int64_t> origins;  // [conversation.size()] the event each message came from
  /// What was cut out of the conversation, with the event it came from; in order of removal.
  std::vector<std::pair<std::int64_t, context::Message>> removed;
  std::vector<BlobRef> blobs;                // texts that are not in the conversation
  std::vector<ApprovalRule> approval_rules;  // calls that need not be asked about
  std::set<std::int64_t> pinned;             // events whose messages no cut may take
  ToolValues tool_values;                    // that the latest request was made with
  /// What tools keep for their later calls, by tool and key.
  std::map<std::pair<std::string, std::string>, std::string> kept_values;
  std::uint32_t reductions_in_row = 0;  // since the latest completion
  bool is_foreign = false;              // what came before was written by whoever it came from
  bool has_side_effects = false;        // a call was intended that is more than pure
  bool is_turn_open = false;
  std::uint32_t turns = 0;
  std::uint32_t step = 0;                     // the next completion's place in the open turn
  std::uint32_t attempt = 0;                  // completions of this step that were set aside
  std::optional<CompletionState> completion;  // none: to be asked for
  /// The latest completion, where it said nothing but blanks, with its event. It stays out of the
  /// conversation; but earlier versions took one for an answer, and it stands in their prompts.
  std::optional<std::pair<std::int64_t, context::Message>> blank_answer;
  /// Calls of the latest completion, until each has finished; then they move to conversation.
  std::vector<CallState> calls;
  /// Of each CallState::key of the open turn.
  std::map<std::pair<std::string, std::string>, CallCount> call_counts;
  std::uint32_t call_count_max = 0;  // the largest CallCount::times
  std::uint32_t effects_turn = 0;    // calls of the open turn that ran and are more than pure
  /// Steps in a row up to now whose calls, and what came of them, all were there before in the
  /// turn.
  std::uint32_t stale_steps = 0;
  std::set<std::size_t> results_seen;  // in the open turn: hashes of a call with its result
  std::vector<SubAgentState> sub_agents;
  std::uint32_t steps_delegated_turn = 0;  // of the sub-agents that the open turn had
  Usage usage_delegated;                   // of all sub-agents of the session
  /// Words given in mid-turn that no message carries yet; the next UserMessage does at the latest.
  std::vector<std::string> interjected;
  bool is_superseded = false;      // one of them ends the turn
  bool has_fresh_results = false;  // the last message is a result that no request was made from
  std::uint64_t tokens_generated_turn = 0;  // those of sub-agents and void answers included
  Usage usage_total;                        // over the session; times and tokens added up
  Usage usage_last;                         // of the latest completion
  std::uint32_t completions = 0;
  std::uint32_t damaged_completions = 0;  // not Verdict::ok: repaired or cut off
  std::uint32_t tool_calls = 0;
  std::uint32_t malformed_calls = 0;  // of these, what the parser refused
  std::optional<TurnEnded> last_end;
  std::optional<WorkflowFinished> workflow;  // what it made of the latest turn
  std::uint32_t unreadable = 0;
  std::int64_t last_seq = 0;

  /// What it was begun with. Requires: `start`, which whoever opens a session looks for.
  const SessionStarted& started() const;
  /// True when the latest completion's calls still want outcomes.
  bool has_open_calls() const { return !calls.empty(); }
  /// True when something is left to do without a new word from the user.
  bool wants_resume() const { return is_turn_open || !interjected.empty(); }
  /// What the session cost, its sub-agents included.
  std::int64_t cost_pico() const {
    return sum_of(usage_total.cost_pico, usage_delegated.cost_pico);
  }
  /// Steps of the open turn, those of its sub-agents included.
  std::uint32_t steps_turn() const { return step + steps_delegated_turn; }
  /// The latest assistant content, or empty.
  std::string last_answer() const;
  /// Every message so far, whether cut out since or not, in the order of the log.
  context::Conversation history() const;
  /// The event that each message of history() came from.
  std::vector<std::int64_t> history_origins() const;
};

/// Adds tokens, times and costs up.
void add_usage(Usage& total, const Usage& usage);

void apply(SessionState& state, const Record& record);
SessionState fold(std::span<const Record> records);

}  // namespace ponder::runtime
