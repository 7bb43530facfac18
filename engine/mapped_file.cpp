#include "engine/mapped_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <mutex>
#include <system_error>
#include <utility>

namespace ponder::engine {
namespace {

/// One mapping that the SIGBUS handler answers for. begin == 0: free.
struct Guard {
  std::atomic<std::uintptr_t> begin{0};
  std::atomic<std::uintptr_t> end{0};
  std::atomic<bool> is_lost{false};
};
static_assert(std::atomic<std::uintptr_t>::is_always_lock_free, "a signal handler reads them");

constexpr std::size_t kGuardsMax = 4096;
constinit std::array<Guard, kGuardsMax> guards;
struct sigaction previous_action;
std::uintptr_t page_bytes = 0;

/// Replaces the lost rest of a guarded mapping by zeros; the read that failed then goes on. Only
/// atomics and a system call: this runs in the middle of anything.
bool mend(std::uintptr_t address) {
  for (Guard& guard : guards) {
    const std::uintptr_t begin = guard.begin.load(std::memory_order_acquire);
    const std::uintptr_t end = guard.end.load(std::memory_order_acquire);
    if (begin == 0 || address < begin || address >= end) continue;
    guard.is_lost.store(true, std::memory_order_release);
    const std::uintptr_t page = address / page_bytes * page_bytes;
    void* at = reinterpret_cast<void*>(page);  // NOLINT(performance-no-int-to-ptr)
    return mmap(at, end - page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) !=
           MAP_FAILED;
  }
  return false;
}

void on_sigbus(int signal, siginfo_t* info, void* context) {
  const int saved_errno = errno;
  const bool is_mended = mend(reinterpret_cast<std::uintptr_t>(info->si_addr));
  errno = saved_errno;
  if (is_mended) return;
  if ((previous_action.sa_flags & SA_SIGINFO) != 0 && previous_action.sa_sigaction != nullptr) {
    previous_action.sa_sigaction(signal, info, context);
    return;
  }
  const bool is_plain = (previous_action.sa_flags & SA_SIGINFO) == 0;
  if (is_plain && previous_action.sa_handler != SIG_DFL && previous_action.sa_handler != SIG_IGN) {
    previous_action.sa_handler(signal);
    return;
  }
  // Not ours: the read is repeated, and the default action ends the process.
  std::signal(SIGBUS, SIG_DFL);
}

void install_handler() {
  static std::once_flag once;
  std::call_once(once, [] {
    page_bytes = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
    struct sigaction action{};
    action.sa_sigaction = on_sigbus;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigaction(SIGBUS, &action, &previous_action);
  });
}

/// The slot, or -1 when all are taken.
int guard_mapping(const void* address, std::size_t bytes) {
  static std::mutex mutex;
  install_handler();
  const std::lock_guard lock(mutex);
  for (std::size_t i = 0; i < guards.size(); ++i) {
    Guard& guard = guards[i];
    if (guard.begin.load(std::memory_order_relaxed) != 0) continue;
    const auto begin = reinterpret_cast<std::uintptr_t>(address);
    guard.is_lost.store(false, std::memory_order_relaxed);
    guard.end.store(begin + (bytes + page_bytes - 1) / page_bytes * page_bytes,
                    std::memory_order_release);
    guard.begin.store(begin, std::memory_order_release);
    return static_cast<int>(i);
  }
  return -1;
}

Error system_error(const std::filesystem::path& path, const char* what) {
  const int code = errno;
  const bool is_missing = code == ENOENT || code == ENOTDIR;
  return {is_missing ? Errc::not_found : Errc::unavailable,
          fmt::format("{}: {}: {}", path.string(), what,
                      std::error_code(code, std::generic_category()).message())};
}

}  // namespace

Result<MappedFile> MappedFile::open(const std::filesystem::path& path) {
  MappedFile file;
  file.path_ = path.string();
  file.fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // nor waits for a pipe
  if (file.fd_ < 0) return tl::unexpected(system_error(path, "cannot open"));
  if (::fstat(file.fd_, &file.opened_) != 0) {
    return tl::unexpected(system_error(path, "cannot stat"));
  }
  if (!S_ISREG(file.opened_.st_mode)) {
    return fail(Errc::invalid_argument, file.path_ + ": not a regular file");
  }
  const auto num_bytes = static_cast<std::size_t>(file.opened_.st_size);
  if (num_bytes == 0) return file;
  void* address = ::mmap(nullptr, num_bytes, PROT_READ, MAP_PRIVATE, file.fd_, 0);
  if (address == MAP_FAILED) return tl::unexpected(system_error(path, "cannot map"));
  file.bytes_ = {static_cast<const std::byte*>(address), num_bytes};
  file.guard_ = guard_mapping(address, num_bytes);
  if (file.guard_ < 0) {
    return fail(Errc::exhausted,
                fmt::format("{}: {} files are mapped already", file.path_, kGuardsMax));
  }
  return file;
}

Status MappedFile::check_unchanged() const {
  const auto changed = [&](const char* how) {
    return fail(Errc::corrupt,
                fmt::format("{}: {} while in use; restart with a complete file", path_, how));
  };
  if (guard_ >= 0 && guards[static_cast<std::size_t>(guard_)].is_lost.load()) {
    return changed("parts could not be read");
  }
  struct stat now{};
  if (::fstat(fd_, &now) != 0) return changed("cannot be examined");
  if (now.st_size != opened_.st_size) return changed("another size");
  if (now.st_mtim.tv_sec != opened_.st_mtim.tv_sec ||
      now.st_mtim.tv_nsec != opened_.st_mtim.tv_nsec) {
    return changed("modified");
  }
  return {};
}

MappedFile::MappedFile(MappedFile&& other) noexcept { *this = std::move(other); }

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  std::swap(fd_, other.fd_);
  std::swap(guard_, other.guard_);
  std::swap(opened_, other.opened_);
  std::swap(path_, other.path_);
  return *this;
}

MappedFile::~MappedFile() {
  if (guard_ >= 0) guards[static_cast<std::size_t>(guard_)].begin.store(0);
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
  if (fd_ >= 0) ::close(fd_);
}

}  // namespace ponder::engine
