#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "runtime/session/event.h"

/// Where a session's events lie, whichever database has them.
///
/// A fork owns only the events after those that it shares. Its history is a chain of stretches, one
/// for each session that it goes back through.
namespace ponder::runtime {

inline constexpr std::size_t kTitleBytesMax = 80;  // of a session, as it is listed

/// Whom a session was forked from.
struct Ancestry {
  std::string parent;  // empty: nobody
  std::int64_t parent_seq = 0;
};

/// Events first..last of a fork's history, and whose they are.
struct Stretch {
  std::string session;
  std::int64_t first_seq = 1;
  std::int64_t last_seq = 0;  // of the session itself: the largest there can be
  bool is_there = true;       // false: the store has no such session
};

/// An event as a row has it.
struct StoredEvent {
  std::int64_t seq = 0;
  std::int64_t unix_ms = 0;
  std::string_view type;
  int version = 0;
  std::string_view payload;
};

/// The rows of one database.
class EventRows {
 public:
  virtual ~EventRows() = default;
  /// Nothing when there is no such session.
  virtual Result<std::optional<Ancestry>> ancestry_of(const std::string& session) = 0;
  /// Those of the stretch's session that lie within it, in order of their places.
  virtual Status read(const Stretch& stretch,
                      const std::function<void(const StoredEvent&)>& each) = 0;
};

/// A chain of forks longer than this is refused when made, and taken for a circle when read.
inline constexpr std::size_t kForkDepthMax = 1000;

/// Where a session's events lie, oldest first; the last stretch is its own. `corrupt` for a circle.
Result<std::vector<Stretch>> history_of(EventRows& rows, const std::string& id);

/// All events in order. A place without an event is filled with an UnreadableEvent that says so,
/// one for each run of them, so that what is there can be seen whatever is lost.
Result<std::vector<Record>> read_records(EventRows& rows, const std::string& id);

/// What a fork at an event is made of.
struct ForkPoint {
  std::string owner;  // of the last event that is shared
  std::int64_t shared = 0;
};

/// Where a fork of `parent` hangs whose last shared event is `at` (none: `last_seq`, its last).
/// `invalid_argument` when there is no such event, or too many forks lie behind it.
Result<ForkPoint> fork_point(EventRows& rows, const std::string& parent, std::int64_t last_seq,
                             std::optional<std::int64_t> at);

}  // namespace ponder::runtime
