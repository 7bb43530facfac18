#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "runtime/session/event.h"
#include "runtime/session/session_store.h"

namespace ponder::runtime {

/// One append on its way to the database.
struct PendingAppend {
  SessionId session;
  std::vector<Record> records;  // not empty; in order from the place after the last known event
  std::vector<Blob> blobs;
  std::optional<Status> status;  // once it is written or refused
  bool is_conflict = false;      // refused, for it does not follow on the session's last event
};

/// Whether it holds an intent that must be on the disk before its tool starts.
bool has_intent_of_effect(const PendingAppend& append);

/// Whether it holds what a tool's call came to.
bool has_outcome(const PendingAppend& append);

/// Appends that wait for the one thread that writes. What has gathered while it was busy is written
/// together.
///
/// Thread: push() from any; write_until_done() on the writing thread.
class AppendQueue {
 public:
  /// Gives each append of the group its status.
  using Write = std::function<void(std::span<PendingAppend* const> group)>;

  /// Who pushes also has write_until_done() called.
  void push(std::shared_ptr<PendingAppend> append);
  bool is_empty() const;
  /// Writes what waits, group by group, unless that has been done with an append that came before.
  void write_until_done(PendingAppend& append, const Write& write);

 private:
  std::vector<std::shared_ptr<PendingAppend>> next_group();
  mutable std::mutex mutex_;
  // In order. Shared with the coroutine that waits. Not bounded here: each waits for its own, so
  // there are no more of them than callers.
  std::deque<std::shared_ptr<PendingAppend>> waiting_;
};

}  // namespace ponder::runtime
