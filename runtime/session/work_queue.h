#pragma once

#include <cstddef>
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
  /// Why the last worker that said so left it, in one line; empty: none has.
  std::string problem;
  int problem_takes = 0;  // as of `takes`: which worker that was

  /// Whether the last who took it is gone and has not said why: it was killed, or its machine was.
  bool was_left_silently() const { return owner.empty() && takes > problem_takes; }
};

/// The sessions of a shared store that wait for whoever has time: `ponder run --queue` puts them
/// there, `ponder work` takes them. A session stays in the queue while somebody works on it, so
/// that another program takes it when its lease ends before its work does.
///
/// Thread: any; calls take turns. All block.
class WorkQueue {
 public:
  virtual ~WorkQueue() = default;
  /// Offers a session, and ends this program's lease on it. One that is there already stays, with
  /// all of its tries again and without a problem.
  virtual Status put(const SessionId& session) = 0;
  /// The session that has waited longest and that nobody works on, now leased to this program; none
  /// when there is none but those of `excluded`. A session that was taken too often is left alone:
  /// see kTakesMax.
  virtual Result<std::optional<SessionId>> take(const std::vector<SessionId>& excluded = {}) = 0;
  /// Keeps why this program leaves a session that it took, for people: at most kProblemBytesMax of
  /// the words' first line. Nothing when it is not in the queue any more.
  virtual Status note(const SessionId& session, const std::string& problem) = 0;
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
inline constexpr std::size_t kProblemBytesMax = 1000;

}  // namespace ponder::runtime
