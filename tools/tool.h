#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstddef>
#include <string>
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

/// What the model gets back. A tool that ran and failed is data, not an Error.
struct ToolOutput {
  ToolOutput(std::string content, bool is_error)
      : content(std::move(content)), is_error(is_error) {}
  std::string content;
  bool is_error;
};

/// The limits of one call, and its name in the world. Cancellation arrives through the coroutine's
/// cancellation slot.
struct ToolContext {
  ToolContext(const Clock& clock, Deadline deadline, std::size_t output_bytes_max)
      : clock(&clock), deadline(deadline), output_bytes_max(output_bytes_max) {}
  const Clock* clock;
  Deadline deadline;
  std::size_t output_bytes_max;
  /// The same whenever this call is made, also when it is made again after a crash, and never that
  /// of another call: what a tool hands to a service that tells repetitions from new requests.
  /// Printable ASCII. Empty when the call belongs to no session.
  std::string idempotency_key;
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
