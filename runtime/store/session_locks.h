#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <mutex>
#include <string>

#include "base/result.h"

namespace ponder::runtime {

/// Tells other programs on the same session file which sessions this one works on.
///
/// A session has a byte, found by its id, in one of the files of the folder `<sessions>-work`, and
/// whoever works on it has a lock of an open file description there. It is this object's, whatever
/// else the program opens, and the kernel drops it when the program ends, however it does: a crash
/// leaves nothing to clean up. There are several files because the kernel goes through all locks of
/// a file for each new one: ten thousand in one take 11 s, in these 0.4 s. What the files hold are
/// only process ids, to name the one that a refusal is about.
///
/// Thread: any.
class SessionLocks {
 public:
  /// Of the sessions in `file`. A lock file is made when the first session of it is held.
  explicit SessionLocks(const std::filesystem::path& file);
  ~SessionLocks();
  SessionLocks(const SessionLocks&) = delete;
  SessionLocks& operator=(const SessionLocks&) = delete;

  /// A holder more. `unavailable`, naming the process, where another program works on the session,
  /// or what keeps a lock file from being locked.
  Status hold(const std::string& session);
  /// A holder less; after the last the session is free. Does nothing for one that is not held.
  void drop(const std::string& session);

 private:
  static constexpr std::size_t kFiles = 64;

  std::string name_of(std::size_t file) const;
  Status open(std::size_t file);
  Status lock(const std::string& session, std::uint64_t place);

  const std::string folder_;
  std::mutex mutex_;             // guards what follows
  std::array<int, kFiles> fds_;  // -1: not opened yet
  std::map<std::string, int> holders_;
};

}  // namespace ponder::runtime
