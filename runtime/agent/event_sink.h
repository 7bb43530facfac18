#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/async/guarded.h"
#include "runtime/model/model_client.h"
#include "runtime/session/event.h"

namespace ponder::runtime {

/// How far a call is, in its own words.
struct CallProgress {
  std::uint32_t call_index = 0;  // in the latest completion
  std::string tool;
  std::string text;             // may be empty
  std::optional<double> share;  // 0 to 1
};

/// Sees a session as it happens. Called on the session's executor; must not block for long. What it
/// throws is dropped (tell_all()): a session does not fail because somebody could not look on.
class EventSink {
 public:
  virtual ~EventSink() = default;
  /// The event is in the log and on the disk.
  virtual void on_event(const SessionId& session, const Record& record) = 0;
  /// A piece of the completion under way; what counts arrives as ModelCompleted.
  virtual void on_delta(const SessionId&, const ModelDelta&) {}
  /// Kept nowhere.
  virtual void on_progress(const SessionId&, const CallProgress&) {}
  /// As on_event, of a sub-agent's session, however far below the one that is watched.
  virtual void on_sub_agent_event(const SessionId&, const Record&) {}
};

/// Calls `tell(sink)` for each, whatever those before it threw.
template <class Tell>
void tell_all(const std::vector<EventSink*>& sinks, Tell tell) noexcept {
  // The event is in the log, which is what counts.
  for (EventSink* sink : sinks) (void)guarded_call([&] { tell(*sink); });
}

}  // namespace ponder::runtime
