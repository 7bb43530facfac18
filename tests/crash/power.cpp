#include "tests/crash/power.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <string_view>
#include <utility>
#include <vector>

namespace power {
namespace {

/// A file that was written. Its descriptor is our own, for the program may close the one it has;
/// it stays open for ever, for closing it would drop the program's locks on the file.
struct File {
  dev_t device;
  ino_t inode;
  int descriptor;
};

/// How one stretch of a file was before it was written.
struct Before {
  std::size_t file;  // in Notes::files
  long offset;
  std::vector<char> bytes;
  long file_size;
};

struct Notes {
  std::vector<File> files;
  std::vector<Before> writes;
};

std::mutex mutex;

/// Under the mutex. Never destroyed: the program writes until its very end.
Notes& notes() {
  static auto* notes = std::make_unique<Notes>().release();
  return *notes;
}

/// A descriptor of our own that reads and writes, whatever the program's one may.
int own_descriptor(int descriptor) {
  char link[32];
  std::snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  return static_cast<int>(syscall(SYS_openat, AT_FDCWD, link, O_RDWR | O_CLOEXEC));
}

/// The place of a file in the list.
std::size_t file_of(int descriptor, const struct stat& about) {
  auto& files = notes().files;
  for (std::size_t i = 0; i < files.size(); ++i) {
    if (files[i].device == about.st_dev && files[i].inode == about.st_ino) return i;
  }
  files.push_back({about.st_dev, about.st_ino, own_descriptor(descriptor)});
  return files.size() - 1;
}

/// Memory that processes share by way of a file, and which no power failure outlives: SQLite makes
/// it anew. To cut it short would end other threads, which still look at it, before their process
/// is.
bool is_shared_memory(int descriptor) {
  char link[32];
  char path[PATH_MAX];
  std::snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  const ssize_t length = readlink(link, path, sizeof path);
  return length > 0 && std::string_view(path, static_cast<std::size_t>(length)).ends_with("-shm");
}

void note(int descriptor, long offset, long size) {
  struct stat about;
  if (fstat(descriptor, &about) != 0 || !S_ISREG(about.st_mode)) return;
  if (is_shared_memory(descriptor)) return;
  const std::lock_guard lock(mutex);
  Before before{file_of(descriptor, about), offset, {}, about.st_size};
  const long length = std::max(0L, std::min(size, about.st_size - offset));
  before.bytes.resize(static_cast<std::size_t>(length));
  const int own = notes().files[before.file].descriptor;
  if (pread(own, before.bytes.data(), before.bytes.size(), offset) != length) std::abort();
  notes().writes.push_back(std::move(before));
}

}  // namespace

void note_write(int descriptor, long offset, std::size_t size) {
  const long at = offset < 0 ? lseek(descriptor, 0, SEEK_CUR) : offset;
  note(descriptor, at, static_cast<long>(size));
}

void note_truncate(int descriptor, long size) {
  struct stat about;
  if (fstat(descriptor, &about) != 0) return;
  note(descriptor, size, std::max(0L, about.st_size - size));
}

void note_sync(int descriptor) {
  struct stat about;
  if (fstat(descriptor, &about) != 0 || !S_ISREG(about.st_mode)) return;
  const std::lock_guard lock(mutex);
  const std::size_t file = file_of(descriptor, about);
  std::erase_if(notes().writes, [file](const Before& before) { return before.file == file; });
}

void cut() {
  mutex.lock();  // for good: nobody writes after this
  auto& writes = notes().writes;
  for (auto before = writes.rbegin(); before != writes.rend(); ++before) {
    const int own = notes().files[before->file].descriptor;
    const auto length = static_cast<long>(before->bytes.size());
    // Straight into the kernel: the functions of these names here are watched.
    const long restored =
        syscall(SYS_pwrite64, own, before->bytes.data(), before->bytes.size(), before->offset);
    if (restored != length || syscall(SYS_ftruncate, own, before->file_size) != 0) std::abort();
  }
}

}  // namespace power
