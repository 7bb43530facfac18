#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "runtime/session/log_check.h"
#include "runtime/session/session_store.h"

/// Finds what is damaged in a session store, and mends what can be mended.
///
/// The log is never rewritten. What cannot be read stays in its place, where every reader shows it
/// as unreadable; mending copies it to the table `quarantine` and notes that somebody has seen it.
/// Rows that are in nobody's history, and texts that are not what their hash says, are moved there.
/// What can be made again from the log is made again. A damaged session keeps no other from
/// opening.
namespace ponder::runtime {

struct StoreFault {
  enum class State {
    found,        // can be mended
    mended,       // just now
    quarantined,  // now or earlier: kept aside and noted; readers go on around it
    lasting,      // not for this program to mend: `remedy` says who can
  };
  FaultKind kind = FaultKind::unreadable_event;
  State state = State::found;
  std::string session;   // empty: of no session
  std::int64_t seq = 0;  // 0: of no event
  std::string detail;    // one line
  std::string remedy;    // what to do, or what has been done
};

const char* state_name(StoreFault::State state) noexcept;

struct DoctorOptions {
  bool mends = false;
  std::string session;  // only this one, by its whole id; empty: all
};

struct StoreReport {
  std::uint64_t sessions = 0;
  std::uint64_t events = 0;
  std::vector<StoreFault> faults;
};

/// `store` is an SQLite file or an address postgresql://... Blocks. Fails only when it cannot be
/// opened at all, with its name and the remedy.
Result<StoreReport> examine_store(const std::string& store, const Clock& clock,
                                  const DoctorOptions& options);

/// Ends the open turn of a session that nobody works on, and of the sub-agents that work for it:
/// what its calls did is unknown. Gives the number of the session's own calls; 0 without an open
/// turn. `unavailable` where another program is at work on one of them. For orphaned intents, on
/// somebody's order.
boost::asio::awaitable<Result<std::size_t>> close_open_turn(SessionStore& store, SessionId id);

}  // namespace ponder::runtime
