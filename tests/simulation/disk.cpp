#include "tests/simulation/disk.h"

#include <sqlite3.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "base/assert.h"
#include "tests/simulation/disk_file.h"

namespace ponder::simulation {
namespace {

constexpr const char* kVfsName = "simulated";
constexpr std::size_t kSectorBytes = 512;

SimulatedDisk& disk_of(sqlite3_vfs* vfs) { return *static_cast<SimulatedDisk*>(vfs->pAppData); }

/// DIR/p3/NAME: which process looks, and what it sees.
struct View {
  std::size_t process;
  std::string path;
};
View view_of(std::string_view path) {
  const std::size_t name = path.rfind('/');
  PONDER_ASSERT(name != std::string_view::npos && name >= 3 && path[name - 2] == 'p');
  const auto process = static_cast<std::size_t>(path[name - 1] - '0');
  PONDER_ASSERT(process < SimulatedDisk::kProcessesMax);
  return {process, std::string(path.substr(0, name - 2)) + std::string(path.substr(name + 1))};
}

int open_file(sqlite3_vfs* vfs, const char* name, sqlite3_file* out, int flags, int* out_flags) {
  out->pMethods = nullptr;
  if (name == nullptr) return SQLITE_CANTOPEN;  // SQLite's own temporary files stay in memory
  const bool makes = (flags & SQLITE_OPEN_CREATE) != 0;
  if (!makes && !disk_of(vfs).exists(name)) return SQLITE_CANTOPEN;
  if (disk_of(vfs).open(out, name) == nullptr) return SQLITE_IOERR;
  if (out_flags != nullptr) *out_flags = flags;
  return SQLITE_OK;
}

int remove_file(sqlite3_vfs* vfs, const char* name, int) { return disk_of(vfs).remove(name); }

int access(sqlite3_vfs* vfs, const char* name, int, int* out) {
  *out = disk_of(vfs).exists(name) ? 1 : 0;
  return SQLITE_OK;
}

int full_pathname(sqlite3_vfs*, const char* name, int size, char* out) {
  sqlite3_snprintf(size, out, "%s", name);
  return SQLITE_OK;
}

int randomness(sqlite3_vfs* vfs, int size, char* out) {
  for (int i = 0; i < size; ++i) out[i] = static_cast<char>(disk_of(vfs).random().next());
  return size;
}

int sleep(sqlite3_vfs*, int) { return 0; }

int current_time(sqlite3_vfs* vfs, sqlite3_int64* out) {
  constexpr sqlite3_int64 kUnixEpoch = 24405875LL * 8'640'000;
  *out = kUnixEpoch + disk_of(vfs).clock().unix_ms();
  return SQLITE_OK;
}

int current_time_days(sqlite3_vfs* vfs, double* out) {
  sqlite3_int64 ms = 0;
  const int code = current_time(vfs, &ms);
  *out = static_cast<double>(ms) / 86'400'000.0;
  return code;
}

int last_error(sqlite3_vfs*, int, char*) { return 0; }

}  // namespace

SimulatedDisk::SimulatedDisk(const Clock& clock, Random random)
    : clock_(&clock), random_(random), vfs_(std::make_unique<sqlite3_vfs>()) {
  vfs_->iVersion = 2;
  vfs_->szOsFile = static_cast<int>(sizeof(Handle));
  vfs_->mxPathname = 512;
  vfs_->zName = kVfsName;
  vfs_->pAppData = this;
  vfs_->xOpen = open_file;
  vfs_->xDelete = remove_file;
  vfs_->xAccess = access;
  vfs_->xFullPathname = full_pathname;
  vfs_->xRandomness = randomness;
  vfs_->xSleep = sleep;
  vfs_->xCurrentTime = current_time_days;
  vfs_->xGetLastError = last_error;
  vfs_->xCurrentTimeInt64 = current_time;
  PONDER_ASSERT(sqlite3_vfs_register(vfs_.get(), 1) == SQLITE_OK);
  sqlite3_randomness(0, nullptr);  // SQLite asks this disk for its seed the next time
}

SimulatedDisk::~SimulatedDisk() {
  PONDER_ASSERT(handles_.empty());
  sqlite3_vfs_unregister(vfs_.get());
}

SimulatedDisk::Handle* SimulatedDisk::open(void* place, std::string_view path) {
  View view = view_of(path);
  if (dead_[view.process]) return nullptr;
  auto& file = files_[std::move(view.path)];
  if (!file) file = std::make_shared<File>();
  Handle* handle = ::new (place) Handle();
  handle->base.pMethods = &disk_file_methods();
  handle->disk = this;
  handle->file = file;
  handle->process = view.process;
  handle->num_lost = file->num_lost;
  handles_.push_back(handle);
  return handle;
}

void SimulatedDisk::close(Handle* handle) {
  drop_locks(*handle);
  handles_.erase(std::find(handles_.begin(), handles_.end(), handle));
  handle->~Handle();
}

bool SimulatedDisk::exists(std::string_view path) const {
  const View view = view_of(path);
  return !dead_[view.process] && files_.find(view.path) != files_.end();
}

int SimulatedDisk::remove(std::string_view path) {
  const View view = view_of(path);
  if (dead_[view.process]) return SQLITE_IOERR_DELETE;
  return files_.erase(view.path) > 0 ? SQLITE_OK : SQLITE_IOERR_DELETE_NOENT;
}

int SimulatedDisk::write(Handle& handle, const void* data, std::size_t size, std::size_t offset) {
  if (handle.is_dead || trouble_ == DiskTrouble::writes) return SQLITE_IOERR_WRITE;
  if (trouble_ == DiskTrouble::full) return SQLITE_FULL;
  File& file = *handle.file;
  const auto& change = file.unsynced.emplace_back(
      File::Change{offset, std::string(static_cast<const char*>(data), size), false});
  file.apply(file.now, change);
  return SQLITE_OK;
}

int SimulatedDisk::truncate(Handle& handle, std::size_t size) {
  if (handle.is_dead || trouble_ == DiskTrouble::writes) return SQLITE_IOERR_TRUNCATE;
  File& file = *handle.file;
  const auto& change = file.unsynced.emplace_back(File::Change{size, {}, true});
  file.apply(file.now, change);
  return SQLITE_OK;
}

int SimulatedDisk::sync(Handle& handle) {
  if (handle.is_dead) return SQLITE_IOERR_FSYNC;
  File& file = *handle.file;
  // Linux may take pages that it could not write for clean: they can still be read, and no later
  // sync, however well it ends, brings them to the disk. Who had the file open is told once.
  const bool fails = trouble_ == DiskTrouble::syncs || trouble_ == DiskTrouble::writes;
  if (fails && random_.chance(50)) {
    file.unsynced.clear();
    ++file.num_lost;
  }
  const int num_lost_before = std::exchange(handle.num_lost, file.num_lost);
  if (fails || num_lost_before != file.num_lost) return SQLITE_IOERR_FSYNC;
  for (const File::Change& change : file.unsynced) file.apply(file.synced, change);
  file.unsynced.clear();
  return SQLITE_OK;
}

void SimulatedDisk::kill(std::size_t process) {
  dead_[process] = true;
  for (Handle* handle : handles_) {
    if (handle->process != process || handle->is_dead) continue;
    drop_locks(*handle);
    handle->is_dead = true;
  }
}

void SimulatedDisk::cut_power() {
  for (const Handle* handle : handles_) PONDER_ASSERT(handle->is_dead);
  for (auto& [path, file] : files_) cut_power(*file);
}

void SimulatedDisk::cut_power(File& file) {
  const std::uint64_t survivors = random_.below(4);  // of 3: none, ..., all
  for (File::Change& change : file.unsynced) {
    if (random_.below(3) >= survivors) continue;
    const bool is_torn = survivors < 3 && change.bytes.size() > kSectorBytes && random_.chance(20);
    if (is_torn) {
      const std::size_t sectors = 1 + random_.below(change.bytes.size() / kSectorBytes);
      change.bytes.resize(std::min(change.bytes.size(), sectors * kSectorBytes));
    }
    file.apply(file.synced, change);
  }
  file.unsynced.clear();
  file.now = file.synced;
}

}  // namespace ponder::simulation
