#include "runtime/store/session_locks.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>

#include "base/digest.h"

namespace ponder::runtime {
namespace {

/// Who locked a byte, as its file tells it. A number that goes through the file's cache only: no
/// lock depends on it.
struct Holder {
  std::uint64_t place = 0;
  std::int64_t pid = 0;
};
constexpr std::uint64_t kHoldersPerFile = 256;

/// A session's byte, counted over all files. Of two sessions the same are two in 2^60.
std::uint64_t place_of(const std::string& session) {
  constexpr std::size_t kDigits = 15;
  return std::stoull(sha256_hex(session).substr(0, kDigits), nullptr, 16);
}

/// Locks a byte, or unlocks it. Does not wait.
int set(int fd, std::uint64_t place, short type) {
  struct flock lock{};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = static_cast<off_t>(place);
  lock.l_len = 1;
  int result = 0;
  do {
    result = ::fcntl(fd, F_OFD_SETLK, &lock);
  } while (result != 0 && errno == EINTR);
  return result;
}

/// One file has one set of locks, whatever links lead to it, as it has one log of SQLite's.
std::filesystem::path real_path(const std::filesystem::path& file) {
  std::error_code error;
  auto path = std::filesystem::weakly_canonical(file, error);
  return error ? file : path;
}

off_t place_of_holder(std::uint64_t place) {
  return static_cast<off_t>(place / kHoldersPerFile % kHoldersPerFile * sizeof(Holder));
}

void write_holder(int fd, std::uint64_t place) {
  const Holder holder{place, ::getpid()};
  (void)!::pwrite(fd, &holder, sizeof holder, place_of_holder(place));
}

/// In words. Where the number of another session's holder stands, it is not known.
std::string holder_of(int fd, std::uint64_t place) {
  Holder holder;
  const bool is_read = ::pread(fd, &holder, sizeof holder, place_of_holder(place)) ==
                       static_cast<ssize_t>(sizeof holder);
  const bool is_known = is_read && holder.place == place;
  return is_known ? fmt::format("process {}", holder.pid) : std::string("another program");
}

}  // namespace

SessionLocks::SessionLocks(const std::filesystem::path& file)
    : folder_(real_path(file).string() + "-work") {
  fds_.fill(-1);
}

SessionLocks::~SessionLocks() {
  for (const int fd : fds_) {
    if (fd >= 0) ::close(fd);
  }
}

Status SessionLocks::hold(const std::string& session) {
  const std::lock_guard guard(mutex_);
  const auto known = holders_.find(session);
  if (known != holders_.end()) {
    ++known->second;
    return {};
  }
  const std::uint64_t place = place_of(session);
  PONDER_CHECK(open(place % kFiles));
  PONDER_CHECK(lock(session, place));
  holders_[session] = 1;
  return {};
}

void SessionLocks::drop(const std::string& session) {
  const std::lock_guard guard(mutex_);
  const auto known = holders_.find(session);
  if (known == holders_.end() || --known->second > 0) return;
  holders_.erase(known);
  const std::uint64_t place = place_of(session);
  (void)set(fds_[place % kFiles], place, F_UNLCK);
}

std::string SessionLocks::name_of(std::size_t file) const {
  return fmt::format("{}/{:02}", folder_, file);
}

Status SessionLocks::open(std::size_t file) {
  if (fds_[file] >= 0) return {};
  (void)::mkdir(folder_.c_str(), 0700);  // where it cannot be made, nothing in it can be opened
  fds_[file] = ::open(name_of(file).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fds_[file] >= 0) return {};
  return fail(Errc::unavailable,
              fmt::format("lock file {}: {}", name_of(file), std::strerror(errno)));
}

Status SessionLocks::lock(const std::string& session, std::uint64_t place) {
  const int fd = fds_[place % kFiles];
  if (set(fd, place, F_WRLCK) == 0) {
    write_holder(fd, place);
    return {};
  }
  if (errno != EAGAIN && errno != EACCES) {
    return fail(Errc::unavailable,
                fmt::format("lock file {}: {}", name_of(place % kFiles), std::strerror(errno)));
  }
  return fail(Errc::unavailable,
              fmt::format("session {} is at work in {}; it is free when that has left it or ended",
                          session, holder_of(fd, place)));
}

}  // namespace ponder::runtime
