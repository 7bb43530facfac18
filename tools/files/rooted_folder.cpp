#include "tools/files/rooted_folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

#include "tools/process/git_places.h"

namespace ponder::tools {
namespace {

namespace fs = std::filesystem;

struct CloseFolder {
  void operator()(DIR* folder) const noexcept { closedir(folder); }
};

tl::unexpected<Error> failed(const std::string& path, int error) {
  const auto with = [&path](Errc code, const char* what) {
    return fail(code, fmt::format("{}: {}", path, what));
  };
  switch (error) {
    case ENOENT:
      return with(Errc::not_found, "no such file or folder");
    case ENOTDIR:
      return with(Errc::invalid_argument, "a file stands where a folder is meant");
    case EISDIR:
      return with(Errc::invalid_argument, "is a folder");
    case EXDEV:
      return with(Errc::invalid_argument, "leads out of the folder");
    case ELOOP:
      return with(Errc::invalid_argument, "goes round in links");
    case ENAMETOOLONG:
      return with(Errc::invalid_argument, "the name is too long");
    case ENOSPC:
      return with(Errc::exhausted, "the disk is full");
    default:
      return with(Errc::unavailable, strerror(error));
  }
}

std::string parent_of(const std::string& file) {
  const auto slash = file.find_last_of('/');
  return slash == std::string::npos ? "." : file.substr(0, slash);
}
std::string name_of(const std::string& file) { return file.substr(file.find_last_of('/') + 1); }

Status check_name(const std::string& file) {
  const std::string name = name_of(file);
  if (name.empty() || name == "." || name == "..") {
    return fail(Errc::invalid_argument, fmt::format("{}: is no name of a file", file));
  }
  // The folder above "/name" is "", which is the root of the machine, not ours.
  if (file.starts_with('/')) return failed(file, EXDEV);
  if (file.find('\0') != std::string::npos) {
    return fail(Errc::invalid_argument, "a path with a zero byte in it");
  }
  return {};
}

Status write_all(int fd, std::string_view bytes, const std::string& file) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return failed(file, errno);
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

tl::unexpected<Error> in_git(const std::string& file) {
  return fail(
      Errc::invalid_argument,
      fmt::format("{}: what is in a git repository's own folder is not changed here", file));
}

bool has_entry(const fs::path& path) {
  std::error_code ignored;
  return fs::symlink_status(path, ignored).type() != fs::file_type::not_found;
}

/// Whether `folder` is a repository by itself, or would be one with a new entry `name`.
bool is_bare_with(const fs::path& folder, const std::string& name) {
  return is_bare_repository(
      [&](const char* part) { return name == part || has_entry(folder / part); });
}

/// Whether an entry `name` of an open folder lies in a repository's own folder below `root`, or
/// would make one, by the folder's real place.
bool is_in_git(int folder, const std::string& name, const fs::path& root) {
  std::error_code error;
  const fs::path place = fs::read_symlink(fmt::format("/proc/self/fd/{}", folder), error);
  if (error || is_bare_with(place, name)) return true;
  fs::path at = root;
  for (const fs::path& part : place.lexically_relative(root)) {
    if (part == ".git" || is_bare_with(at, {})) return true;
    at /= part;
  }
  return false;
}

FileEntry::Kind kind_of(mode_t mode) {
  if (S_ISREG(mode)) return FileEntry::Kind::file;
  if (S_ISDIR(mode)) return FileEntry::Kind::folder;
  return S_ISLNK(mode) ? FileEntry::Kind::link : FileEntry::Kind::other;
}

}  // namespace

Result<RootedFolder> RootedFolder::open(const fs::path& folder) {
  std::error_code error;
  fs::path canonical = fs::canonical(folder, error);
  if (error) return failed(folder.string(), error.value());
  UniqueFd fd(::open(canonical.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return failed(folder.string(), errno);
  return RootedFolder(std::move(canonical), std::move(fd));
}

Result<UniqueFd> RootedFolder::open_beneath(const std::string& path, std::uint64_t flags) const {
  // The kernel gives EAGAIN when something was renamed while it looked.
  constexpr int kAttemptsMax = 64;
  if (path.find('\0') != std::string::npos) {
    return fail(Errc::invalid_argument, "a path with a zero byte in it");
  }
  open_how how = {};
  how.flags = flags | O_CLOEXEC;
  if ((flags & O_PATH) == 0) how.flags |= O_NONBLOCK;  // a pipe is opened without a writer
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  for (int attempt = 0; attempt < kAttemptsMax; ++attempt) {
    UniqueFd fd(static_cast<int>(
        syscall(SYS_openat2, fd_.get(), path.empty() ? "." : path.c_str(), &how, sizeof(how))));
    if (fd) return fd;
    if (errno != EAGAIN && errno != EINTR) return failed(path, errno);
  }
  return fail(Errc::unavailable, fmt::format("{}: is being moved all the time", path));
}

Result<UniqueFd> RootedFolder::open_parent(const std::string& file, bool makes_folders) const {
  PONDER_CHECK(check_name(file));
  const std::string parent = parent_of(file);
  if (name_of(file) == ".git") return in_git(file);
  auto fd = open_beneath(parent, O_PATH | O_DIRECTORY);
  if (fd && is_in_git(fd->get(), name_of(file), path_)) return in_git(file);
  if (fd || !makes_folders || fd.error().code != Errc::not_found) return fd;
  PONDER_TRY(const UniqueFd above, open_parent(parent, true));
  if (mkdirat(above.get(), name_of(parent).c_str(), 0777) != 0 && errno != EEXIST) {
    return failed(parent, errno);
  }
  return open_beneath(parent, O_PATH | O_DIRECTORY);
}

Result<std::string> RootedFolder::read(const std::string& file, std::uint64_t bytes_max) const {
  PONDER_TRY(const UniqueFd fd, open_beneath(file, O_RDONLY));
  struct stat status = {};
  if (fstat(fd.get(), &status) != 0) return failed(file, errno);
  if (S_ISDIR(status.st_mode)) return failed(file, EISDIR);
  if (!S_ISREG(status.st_mode)) {
    return fail(Errc::invalid_argument, fmt::format("{}: is no ordinary file", file));
  }
  const auto too_long = [&] {
    return fail(Errc::exhausted, fmt::format("{}: has over {} bytes", file, bytes_max));
  };
  if (static_cast<std::uint64_t>(status.st_size) > bytes_max) return too_long();
  std::string content;
  std::string buffer(64 * 1024, '\0');
  while (true) {  // it may grow meanwhile
    const ssize_t bytes = ::read(fd.get(), buffer.data(), buffer.size());
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes < 0) return failed(file, errno);
    if (bytes == 0) return content;
    content.append(buffer, 0, static_cast<std::size_t>(bytes));
    if (content.size() > bytes_max) return too_long();
  }
}

Status RootedFolder::write(const std::string& file, std::string_view content) const {
  static std::atomic<std::uint64_t> written{0};
  PONDER_TRY(const UniqueFd folder, open_parent(file, true));
  const std::string name = name_of(file);
  mode_t mode = 0666;
  struct stat status = {};
  if (fstatat(folder.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0) {
    if (S_ISDIR(status.st_mode)) return failed(file, EISDIR);
    if (S_ISREG(status.st_mode)) mode = status.st_mode & 07777;
  }
  const std::string draft = fmt::format(".ponder-{}-{}", getpid(), ++written);
  const UniqueFd fd(
      openat(folder.get(), draft.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
  if (!fd) return failed(file, errno);
  Status done = write_all(fd.get(), content, file);
  if (done && mode != 0666) fchmod(fd.get(), mode);  // the umask does not count for an old file
  // The log says durably that the file was written, so it must not be empty after a power failure.
  if (done && fsync(fd.get()) != 0) done = failed(file, errno);
  if (done && renameat(folder.get(), draft.c_str(), folder.get(), name.c_str()) != 0) {
    done = failed(file, errno);
  }
  if (!done) unlinkat(folder.get(), draft.c_str(), 0);
  return done;
}

Status RootedFolder::remove(const std::string& file) const {
  PONDER_TRY(const UniqueFd folder, open_parent(file, false));
  if (unlinkat(folder.get(), name_of(file).c_str(), 0) != 0) return failed(file, errno);
  return {};
}

bool RootedFolder::exists(const std::string& file) const {
  return open_beneath(file, O_PATH).has_value();
}

Result<std::vector<FileEntry>> RootedFolder::list(const std::string& folder,
                                                  std::size_t entries_max) const {
  PONDER_TRY(UniqueFd fd, open_beneath(folder, O_RDONLY | O_DIRECTORY));
  const std::unique_ptr<DIR, CloseFolder> stream(fdopendir(fd.get()));
  if (!stream) return failed(folder, errno);
  fd.release();  // the stream owns it
  std::vector<FileEntry> entries;
  while (const dirent* found = readdir(stream.get())) {
    FileEntry entry;
    entry.name = static_cast<const char*>(found->d_name);
    if (entry.name == "." || entry.name == "..") continue;
    struct stat status = {};
    if (fstatat(dirfd(stream.get()), entry.name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
      continue;  // gone meanwhile
    }
    entry.kind = kind_of(status.st_mode);
    entry.bytes = static_cast<std::uint64_t>(status.st_size);
    entry.modified_ns = status.st_mtim.tv_sec * 1'000'000'000LL + status.st_mtim.tv_nsec;
    entries.push_back(std::move(entry));
    if (entries.size() > entries_max) {
      return fail(Errc::exhausted, fmt::format("{}: holds over {} entries", folder, entries_max));
    }
  }
  std::sort(entries.begin(), entries.end(),
            [](const FileEntry& a, const FileEntry& b) { return a.name < b.name; });
  return entries;
}

}  // namespace ponder::tools
