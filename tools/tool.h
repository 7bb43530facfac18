#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "context/message.h"

namespace ponder::tools {

/// What running a tool a second time would mean; decides what happens after a crash.
enum class Effect {
  pure,          // reads only: may run any number of times
  idempotent,    // the same call again changes nothing more
  compensable,   // has an undo
  irreversible,  // must never be fired twice; the default for a tool that does not say
};
/// `invalid_argument` when there is no effect of that name.
Result<Effect> effect_named(std::string_view name);

/// What the model gets back. A tool that ran and failed is data, not an Error.
struct ToolOutput {
  ToolOutput(std::string content, bool is_error)
      : content(std::move(content)), is_error(is_error) {}
  std::string content;
  bool is_error;
  std::size_t bytes_whole = 0;  // how long the content was before it was cut; 0: it was not
};

/// Work that a tool hands to another agent. What is not said is up to whoever runs the agent, and
/// nothing can be asked for beyond what the caller's own agent has left.
struct AgentTask {
  explicit AgentTask(std::string task) : task(std::move(task)) {}
  std::string task;                               // all that it is told, unless it is a fork
  std::optional<std::vector<std::string>> tools;  // the names of those it may use; none: all
  std::optional<std::uint32_t> steps_max;
  std::optional<std::uint32_t> tokens_max;  // generated
  std::optional<std::int64_t> ms_max;       // wall time
  bool is_fork = false;                     // it knows all that the caller's agent knows
};

/// How a tool comes by other agents, within one call. The n-th task of a call is, when the call is
/// made again after a crash, the same task still: it goes on, or its answer is given once more. So
/// a tool hands out its tasks in the same order every time.
///
/// Thread: the session's executor. Lifetime: the call.
class AgentCaller {
 public:
  virtual ~AgentCaller() = default;
  /// The agent's answer, or why there is none. Several tasks may be under way at once; cancelling
  /// the coroutine cancels the agent and all below it. Fails as Tool::invoke does.
  virtual boost::asio::awaitable<Result<ToolOutput>> run(AgentTask task) = 0;
};

/// What a person is asked in the middle of a call.
struct Question {
  explicit Question(std::string text) : text(std::move(text)) {}
  std::string text;
  std::vector<std::string> choices;  // empty: any words
};

/// Something about a call that its session keeps beside the result, and that the model never sees.
struct Note {
  Note(std::string kind, std::string content)
      : kind(std::move(kind)), content(std::move(content)) {}
  std::string kind;  // "log", or what a tool says of itself, such as "source"
  std::string content;
};

/// What a session does for one call of a tool, beside running it.
///
/// Thread: the session's executor. Lifetime: the call. All sizes and numbers are bounded
/// (runtime/agent/session_services.h): what is too long, or no UTF-8 where it must stay as it is,
/// is `invalid_argument`, and what is too many is `exhausted`.
class CallServices {
 public:
  virtual ~CallServices() = default;
  /// The person's answer; one of the choices, where there are some. The question and the answer are
  /// events of the session. A call that is made again after a crash asks the same questions in the
  /// same order: those that were answered have their answer at once, one that was open is asked
  /// again. Errors: `unavailable` when nobody can be asked, `deadline` when nobody answered,
  /// `cancelled`.
  virtual boost::asio::awaitable<Result<std::string>> ask(Question question) = 0;
  /// How long the call has waited for a person so far. That is not the tool's time: the deadline in
  /// its ToolContext is later by this.
  virtual Clock::Instant::duration waited() const { return {}; }
  /// Shows whoever watches how far the call is; kept nowhere. `share` is 0 to 1.
  virtual void progress(std::string_view text, std::optional<double> share) = 0;
  /// Keeps a note in the session's log.
  virtual boost::asio::awaitable<Status> note(Note note) = 0;
  /// A value that this tool kept in this session; none: nothing is kept under `key`.
  virtual std::optional<std::string> value(std::string_view key) const = 0;
  /// Keeps a value for later calls of this tool in this session; none: forgets it.
  virtual boost::asio::awaitable<Status> set_value(std::string key,
                                                   std::optional<std::string> value) = 0;
};

/// The limits of one call, and its name in the world. Cancellation arrives through the coroutine's
/// cancellation slot.
struct ToolContext {
  ToolContext(const Clock& clock, Deadline deadline, std::size_t output_bytes_max)
      : clock(&clock),
        deadline(deadline),
        output_bytes_max(output_bytes_max),
        output_kept_max(output_bytes_max) {}
  const Clock* clock;
  Deadline deadline;
  std::size_t output_bytes_max;  // of a result, that the model reads at once
  std::size_t output_kept_max;  // of a longer one, that it can read on demand; what is more is lost
  /// The same whenever this call is made, also when it is made again after a crash, and never that
  /// of another call: what a tool hands to a service that tells repetitions from new requests.
  /// Printable ASCII. Empty when the call belongs to no session.
  std::string idempotency_key;
  AgentCaller* agents = nullptr;     // none: no other agents are to be had
  CallServices* services = nullptr;  // none: the call belongs to no session
};

/// The values that a string parameter can have right now.
struct ParameterValues {
  std::string parameter;
  std::vector<std::string> values;
};

/// One thing an agent can do.
///
/// Lifetime: owned by the registry, outlives every call. Thread: invoke() starts on the session's
/// executor and resumes there; work that blocks goes to a pool inside.
class Tool {
 public:
  virtual ~Tool() = default;
  virtual const context::ToolSpec& spec() const = 0;
  virtual Effect effect() const = 0;
  /// Names of the capabilities it needs ("sql", "http", ...); the user's grants must cover them.
  virtual const std::vector<std::string>& capabilities() const = 0;
  /// The calls of one session that may run at the same time, the others wait; 0: any number.
  virtual std::uint32_t concurrency_max() const { return 0; }
  /// Whether its work has a limit of its own, and is not held to the time of a usual call.
  virtual bool limits_its_time() const { return false; }
  /// Runs with `arguments`, which the caller has checked against the schema. Fails only for what
  /// is not the tool's doing: cancelled, deadline, internal.
  virtual boost::asio::awaitable<Result<ToolOutput>> invoke(std::string arguments,
                                                            ToolContext context) = 0;
  /// Whether values() knows anything.
  virtual bool has_values() const { return false; }
  /// What some of its parameters can be, for a grammar that holds the model to it. Asked before
  /// every request, so it looks and does nothing; what it says is bounded and checked by whoever
  /// asks. Requires: has_values().
  virtual boost::asio::awaitable<Result<std::vector<ParameterValues>>> values(ToolContext context);
};

}  // namespace ponder::tools
