#pragma once

#include <chrono>
#include <string>

#include "base/result.h"

namespace ponder::sqlite {

/// An advisory lock on a side file that orders writers of one database across processes.
///
/// The kernel drops the lock when its holder dies, so a crash leaves nothing to clean up.
class WriteLock {
 public:
  /// Creates the file when it is missing.
  static Result<WriteLock> open(const std::string& path);
  WriteLock(WriteLock&& other) noexcept;
  WriteLock& operator=(WriteLock&&) = delete;
  ~WriteLock();

  /// `unavailable` when another process still holds it after `timeout`. Requires: not held.
  Status acquire(std::chrono::milliseconds timeout);
  void release() noexcept;  // does nothing when not held

 private:
  WriteLock(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
  int fd_;
  std::string path_;
  bool is_held_ = false;
};

}  // namespace ponder::sqlite
