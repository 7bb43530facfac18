#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "context/message.h"
#include "context/prompt.h"
#include "context/shared_conversation.h"
#include "context/thinking_policy.h"
#include "runtime/session/event.h"
#include "runtime/session/live_values.h"

namespace ponder::runtime {

struct SessionState;

/// What a completion is asked for with. Made from the session's state alone (next_request), so that
/// the log is enough to repeat it.
struct ModelRequest {
  ModelRequest(const context::SharedConversation& conversation, std::string family,
               Sampling sampling, std::uint32_t tokens_generated_max)
      : conversation(conversation),
        family(std::move(family)),
        sampling(sampling),
        tokens_generated_max(tokens_generated_max) {}
  context::SharedConversation conversation;  // the tools are on its system message
  std::string family;
  Sampling sampling;
  std::uint32_t tokens_generated_max;
  Deadline deadline = Deadline::never();
  std::vector<LiveValues> live_values = {};  // what a grammar holds the model to
  /// Told, on the executor of complete(), what an answer has cost that came to no end: it broke
  /// off, failed or was cancelled after tokens had come. As far as is known, and without prices. An
  /// error says that no other may be asked for; complete() ends with it. May be empty.
  std::function<Status(const Usage&)> on_void = {};
};

/// The request that follows from a state whose turn is open and whose calls are all answered.
ModelRequest next_request(const SessionState& state);

/// The thinking policy that the request's prompt follows.
Result<context::ThinkingPolicy> policy_of(const ModelRequest& request);

/// A piece of a completion as it arrives, for the eye; the Completion alone counts.
struct ModelDelta {
  enum class Kind {
    prefill,    // the prompt is being computed; `text` is empty
    restarted,  // asked again after a failure: what came before is void; `text` says why
    reasoning,
    content,
    call_name,       // a call begins; `text` is the tool's name
    call_arguments,  // more of the current call's arguments
  };
  Kind kind;
  std::string text;
  std::uint32_t tokens_generated = 0;  // so far; 0 when unknown
};
using ModelSink = std::function<void(const ModelDelta&)>;

struct Completion {
  context::Message message;              // role assistant
  std::vector<std::string> call_faults;  // one for each call; see ModelCompleted
  Finish finish = Finish::stop;
  Verdict verdict = Verdict::ok;
  std::vector<std::string> notes;
  Usage usage;
  Usage usage_void;  // see ModelCompleted
  std::string prompt_hash;
};

/// The seam between an agent and whatever completes its prompts.
///
/// Thread: complete() runs on the caller's executor and calls the sink there. Cancelling the
/// coroutine ends the request; complete() then gives Errc::cancelled. What a completion cost is in
/// it, with that of tries before; of a request without one only ModelRequest::on_void tells.
/// Errors: `deadline`, `cancelled`; `unavailable` after all retries; `exhausted` when the prompt
/// does not fit; `invalid_argument` when the request is refused.
/// Lifetime: outlives every completion. Several completions may be under way at once.
class ModelClient {
 public:
  virtual ~ModelClient() = default;
  /// One line for people and the log: a directory or an address with the model's name.
  virtual std::string description() const = 0;
  /// The chat format of its prompts, or "openai" when the endpoint makes them.
  virtual std::string family() const = 0;
  /// The most tokens that a prompt and its completion may have; 0 when unknown.
  virtual std::uint32_t tokens_context_max() const = 0;
  /// A name for the meaning of its token ids: equal for models that share it. Empty when unknown.
  virtual std::string vocabulary() const { return {}; }
  /// How it makes ids of text; empty when its prompts are not made here.
  virtual context::TokenizeFn tokenizer() const { return {}; }
  virtual boost::asio::awaitable<Result<Completion>> complete(ModelRequest request,
                                                              ModelSink sink) = 0;
  /// A turn has ended, and a user may begin the next one: its prompt will be the request's
  /// conversation and words that are not known yet. What can be made ready for it may be; returns
  /// at once.
  // NOLINTNEXTLINE(performance-unnecessary-value-param): for those that keep it
  virtual void expect_user_turn(ModelRequest) {}
  /// The same for a turn whose calls have no outcome yet: the next prompt will be the request's
  /// conversation, which ends with those calls and the results that are known, and further results.
  // NOLINTNEXTLINE(performance-unnecessary-value-param): for those that keep it
  virtual void expect_results(ModelRequest) {}
};

}  // namespace ponder::runtime
