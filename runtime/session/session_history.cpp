#include "runtime/session/session_history.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "base/assert.h"
#include "runtime/session/event_json.h"

namespace ponder::runtime {
namespace {

constexpr std::int64_t kNoEnd = std::numeric_limits<std::int64_t>::max();

Record missing(const Stretch& stretch, std::int64_t first, std::int64_t last) {
  std::string problem = first == last ? fmt::format("event {} is missing", last)
                                      : fmt::format("events {} to {} are missing", first, last);
  if (!stretch.is_there) {
    problem += fmt::format(": session {}, whose they are, is not in the store", stretch.session);
  }
  return {last, 0, UnreadableEvent{std::string(kMissingType), "", std::move(problem), 0}};
}

/// Adds a stretch's events to `out`, and what says that some are missing.
Status read_stretch(EventRows& rows, const Stretch& stretch, std::vector<Record>& out) {
  std::int64_t expected = stretch.first_seq;
  PONDER_CHECK(rows.read(stretch, [&](const StoredEvent& event) {
    if (event.seq > expected) out.push_back(missing(stretch, expected, event.seq - 1));
    expected = event.seq + 1;
    out.push_back({event.seq, event.unix_ms, read_event(event.type, event.version, event.payload)});
  }));
  const bool ends_early = stretch.last_seq != kNoEnd && expected <= stretch.last_seq;
  if (ends_early) out.push_back(missing(stretch, expected, stretch.last_seq));
  return {};
}

}  // namespace

Result<std::vector<Stretch>> history_of(EventRows& rows, const std::string& id) {
  std::vector<Stretch> out;
  std::string session = id;
  std::int64_t last_seq = kNoEnd;
  for (std::size_t depth = 0; depth <= kForkDepthMax; ++depth) {
    PONDER_TRY(const auto ancestry, rows.ancestry_of(session));
    const std::int64_t shared = ancestry && !ancestry->parent.empty() ? ancestry->parent_seq : 0;
    // A parent that was forked later than the place shared with it adds nothing of its own.
    if (shared < last_seq) out.push_back({session, shared + 1, last_seq, ancestry.has_value()});
    last_seq = std::min(last_seq, shared);
    if (!ancestry || last_seq <= 0) {
      std::reverse(out.begin(), out.end());
      return out;
    }
    session = ancestry->parent;
  }
  return fail(Errc::corrupt, fmt::format("the forks that session {} goes back through form a "
                                         "circle",
                                         id));
}

Result<std::vector<Record>> read_records(EventRows& rows, const std::string& id) {
  PONDER_TRY(const auto history, history_of(rows, id));
  std::vector<Record> out;
  for (const Stretch& stretch : history) {
    PONDER_CHECK(read_stretch(rows, stretch, out));
  }
  return out;
}

Result<ForkPoint> fork_point(EventRows& rows, const std::string& parent, std::int64_t last_seq,
                             std::optional<std::int64_t> at) {
  const std::int64_t shared = at.value_or(last_seq);
  if (shared < 1 || shared > last_seq) {
    return fail(Errc::invalid_argument,
                fmt::format("session {} has events 1 to {}, and no event {} to fork at", parent,
                            last_seq, shared));
  }
  PONDER_TRY(const auto history, history_of(rows, parent));
  if (history.size() >= kForkDepthMax) {
    return fail(Errc::invalid_argument,
                fmt::format("session {} goes back through {} forks, which is the most", parent,
                            history.size()));
  }
  const auto owner = std::find_if(history.begin(), history.end(),
                                  [&](const Stretch& s) { return shared <= s.last_seq; });
  PONDER_ASSERT(owner != history.end());
  return ForkPoint{owner->session, shared};
}

}  // namespace ponder::runtime
