#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/async/offload.h"
#include "base/result.h"
#include "runtime/session/event.h"

namespace ponder::runtime {

/// One line of `sessions list`.
struct SessionSummary {
  SessionId id;
  std::int64_t created_unix_ms = 0;
  std::int64_t updated_unix_ms = 0;
  std::string workflow;
  std::string model;
  std::string title;   // the beginning of the first user message
  std::string parent;  // whose events up to parent_seq it shares; empty: nobody's
  std::int64_t parent_seq = 0;
  std::int64_t events = 0;  // shared ones included
  std::string last_type;    // the type of the last event, such as "turn_ended"; or "damaged"
};

/// A text that was moved out of a conversation, under the SHA-256 of its bytes.
struct Blob {
  std::string hash;
  std::string text;
};

struct SessionCopy;
class WorkQueue;

/// When an append that returned is safe from a power failure. A crash of the program or of the
/// system's user space loses nothing in either case.
enum class Synchronous {
  full,    // at once
  normal,  // soon; but at once when it intends an effect, with all that came before
};

/// The append-only log of all sessions, and the texts that were moved out of conversations; see
/// sqlite_session_store.h for where they lie.
///
/// Several programs may use one store at once; two that append to the same session conflict, and
/// the later one is refused. A session is moreover leased to one program at a time; where a store
/// is shared between machines (postgres_session_store.h), only that one can append. An append is
/// whole or not there, and written when it returns (see Synchronous for what that means to a power
/// failure). Appends that come while others are being written share the next transaction, and so
/// the wait for the disk; an idle store writes at once. Every error names the store and the remedy.
///
/// Thread: append(), fork() and import() may be awaited on any executor; the reads and lease()
/// block, and may be called from any thread: who must not wait calls them by read(). Lifetime:
/// outlives its agents. The destructor waits for the writes under way.
class SessionStore {
 public:
  SessionStore() = default;
  virtual ~SessionStore() = default;
  SessionStore(const SessionStore&) = delete;
  SessionStore& operator=(const SessionStore&) = delete;

  /// A fresh id: sorts by time, and most likely nobody's. To begin a session under an id that is
  /// somebody's is `invalid_argument`: who asked for the id then asks for another (kIdsTriedMax).
  virtual SessionId new_id() = 0;

  /// Appends events and gives them back with their places; `blobs` are stored with them, those
  /// already there are left alone. `last_seq` is the place of the last event the caller knows; when
  /// another program has appended since, nothing is written and the error is `unavailable`. The
  /// first event of a session is SessionStarted.
  virtual boost::asio::awaitable<Result<std::vector<Record>>> append(
      SessionId session, std::int64_t last_seq, std::vector<Event> events,
      std::vector<Blob> blobs = {}) = 0;

  /// A new session whose history is `parent`'s up to its event `at` (default: its last), shared and
  /// not copied; each goes on by itself from there. The fork's first event of its own is
  /// SessionForked. Inside a turn the fork stands where a crash after that event would have left
  /// it: resume goes on from there, run_turn closes the turn first. `invalid_argument` when there
  /// is no such event. `id` names the fork; without one it gets a fresh id.
  virtual boost::asio::awaitable<Result<SessionId>> fork(
      SessionId parent, std::optional<std::int64_t> at = std::nullopt,
      std::optional<SessionId> id = std::nullopt) = 0;

  /// Brings a copy back, under its id, places and times. `invalid_argument` when a session of that
  /// id is there.
  virtual boost::asio::awaitable<Status> import(SessionCopy session) = 0;

  /// All events in order, of a fork those that it shares as well; `not_found` for an unknown
  /// session. Accepts a unique prefix of an id. What cannot be read, or is not there, stands in its
  /// place as an UnreadableEvent.
  virtual Result<std::vector<Record>> load(const SessionId& session) const = 0;
  /// The text of a blob; `not_found` when there is none of that hash.
  virtual Result<std::string> load_blob(const std::string& hash) const = 0;
  /// The whole id that `prefix` stands for; "last" is the one updated last. Sub-agents' sessions
  /// (sub_agents.h) are only meant by a prefix that reaches beyond their parent's id.
  virtual Result<SessionId> resolve(const std::string& prefix) const = 0;
  /// The latest first.
  virtual Result<std::vector<SessionSummary>> list(std::uint32_t sessions_max) const = 0;
  /// The whole session, for session_lines.h and others. A fork's copy holds what it shares.
  Result<SessionCopy> copy(const SessionId& session) const;

  /// `work()`, which reads, where it keeps nothing else on the caller's executor waiting. `work`
  /// refers only to what lives until the await returns.
  template <class Work>
  boost::asio::awaitable<std::invoke_result_t<Work&>> read(Work work) const {
    const auto elsewhere = where_reads_wait();
    if (!elsewhere) co_return work();
    auto out = co_await offload(*elsewhere, std::move(work));
    co_return out;
  }

  /// Work on the session begins here: no other program may begin it until release() or this one's
  /// end, in a store that machines share until it has stood still for longer than a lease.
  /// `unavailable` names the program that has it. What is loaded after this is the latest.
  virtual Status lease(const SessionId& session);
  /// Work on the session has ended here, and may begin elsewhere. Does not wait.
  virtual void release(const SessionId& session);
  /// The sessions that any program of a shared store may go on with; null where there are none.
  virtual WorkQueue* queue();

  /// The transactions that appends have taken so far.
  virtual std::uint64_t commits() const = 0;

 private:
  /// Where to read, when that can take long; nothing where it is a file that is read.
  virtual std::optional<boost::asio::any_io_executor> where_reads_wait() const;
};

/// The ids to begin a session under before something else than the id must be wrong.
inline constexpr int kIdsTriedMax = 8;

/// A source of random bits, for ids.
using RandomBits = std::function<std::uint32_t()>;

/// The machine's own randomness; what every program but a simulation wants.
RandomBits random_bits();

/// What new_id() gives at that time: the time to the second, then eight random letters of 32: ten
/// thousand ids of one second are all different but for one time in 20,000.
SessionId make_session_id(std::int64_t unix_ms, const RandomBits& random);

}  // namespace ponder::runtime
