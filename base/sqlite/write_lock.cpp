#include "base/sqlite/write_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/assert.h"

namespace ponder::sqlite {

Result<WriteLock> WriteLock::open(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) {
    return fail(Errc::unavailable, fmt::format("lock file {}: {}", path, std::strerror(errno)));
  }
  return WriteLock(fd, path);
}

WriteLock::WriteLock(WriteLock&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      path_(std::move(other.path_)),
      is_held_(std::exchange(other.is_held_, false)) {}

WriteLock::~WriteLock() {
  if (fd_ >= 0) ::close(fd_);
}

Status WriteLock::acquire(std::chrono::milliseconds timeout) {
  PONDER_ASSERT(!is_held_);
  // flock() has no timeout of its own; holders keep the lock for one transaction, so a short pause
  // between tries costs little.
  constexpr std::chrono::milliseconds kPause{2};
  for (std::chrono::milliseconds waited{0};; waited += kPause) {
    if (::flock(fd_, LOCK_EX | LOCK_NB) == 0) break;
    if (errno != EWOULDBLOCK && errno != EINTR) {
      return fail(Errc::unavailable, fmt::format("lock file {}: {}", path_, std::strerror(errno)));
    }
    if (waited >= timeout) {
      return fail(Errc::unavailable, fmt::format("another program holds {} for longer than {} ms",
                                                 path_, timeout.count()));
    }
    ::poll(nullptr, 0, static_cast<int>(kPause.count()));
  }
  is_held_ = true;
  return {};
}

void WriteLock::release() noexcept {
  if (!is_held_) return;
  ::flock(fd_, LOCK_UN);
  is_held_ = false;
}

}  // namespace ponder::sqlite
