#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "runtime/session/event.h"

namespace ponder::runtime {

/// A place in the queue.
struct QueuedSession {
  SessionId session;
  int takes = 0;      // how often it was taken and not brought to its end; see kTakesMax
  std::string owner;  // the program that is at work on it; empty: none
};

/// The sessions of a shared store that wait for whoever has time: `ponder run --queue` puts them
/// there, `ponder work` takes them. A session stays in the queue while somebody works on it, so
/// that another program takes it when its lease ends before its work does.
///
/// Thread: any; calls take turns. All block.
class WorkQueue {
 public:
  virtual ~WorkQueue() = default;
  /// Offers a session, and ends this program's lease on it. One that is there already stays.
  virtual Status put(const SessionId& session) = 0;
  /// The session that has waited longest and that nobody works on, now leased to this program; none
  /// when there is none but those of `excluded`. A session that was taken too often is left alone:
  /// see kTakesMax.
  virtual Result<std::optional<SessionId>> take(const std::vector<SessionId>& excluded = {}) = 0;
  /// Nothing is left to do for the session.
  virtual Status remove(const SessionId& session) = 0;
  /// How many sessions are in the queue that take() would give sooner or later: those that others
  /// work on, too.
  virtual Result<std::uint64_t> size() = 0;
  /// All that is in it, the one that has waited longest first.
  virtual Result<std::vector<QueuedSession>> list() = 0;
};

/// A session that brings down every program that takes it must not do so for ever.
inline constexpr int kTakesMax = 100;

}  // namespace ponder::runtime
