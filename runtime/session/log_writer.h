#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "base/result.h"
#include "runtime/session/event.h"
#include "runtime/session/session_store.h"

namespace ponder::runtime {

/// An agent's way to its log.
///
/// One write is under way at a time; what comes meanwhile is the next one, together. So nothing is
/// ever written behind an append that was refused, where another program's event may stand by then;
/// and after the first refusal nothing is written at all. The logs of an agent and of those that
/// work for it end together: where one cannot be written, none is, so that each stands as a crash
/// at that moment would have left it.
///
/// Thread: one executor whose handlers never run at the same time. Lifetime: outlives its appends.
class LogWriter {
 public:
  /// `take` is given each event that is in the log now, in order. `last_seq` is the latest place of
  /// the session that is known. `above`, if any, is the log of the agent that this one's works for;
  /// it outlives this.
  LogWriter(SessionStore& store, SessionId session, std::int64_t last_seq,
            std::function<void(const Record&)> take, LogWriter* above = nullptr);

  /// Not cancellable: a cancelled coroutine waits for its events like any other.
  boost::asio::awaitable<Status> append(std::vector<Event> events, std::vector<Blob> blobs);

  /// From here on nothing is written, here and above. The first reason counts.
  void fail(const Error& error);
  /// Why nothing is written any more: the first append that failed, here or above.
  const std::optional<Error>& error() const;

 private:
  struct Batch;
  boost::asio::awaitable<void> write(std::shared_ptr<Batch> batch);

  SessionStore* store_;
  SessionId session_;
  std::int64_t last_seq_;
  std::function<void(const Record&)> take_;
  LogWriter* above_;
  // Shared by the coroutines whose events are in them.
  std::shared_ptr<Batch> writing_;  // under way
  std::shared_ptr<Batch> waiting_;  // until that one has ended
  std::optional<Error> error_;
};

}  // namespace ponder::runtime
