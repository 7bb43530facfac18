#include "tests/simulation/disk_file.h"

#include <algorithm>
#include <cstring>

namespace ponder::simulation {
namespace {

using Handle = SimulatedDisk::Handle;
using File = SimulatedDisk::File;

Handle& handle_of(sqlite3_file* file) { return *reinterpret_cast<Handle*>(file); }

int close(sqlite3_file* raw) {
  Handle& handle = handle_of(raw);
  handle.disk->close(&handle);
  return SQLITE_OK;
}

int read(sqlite3_file* raw, void* out, int size, sqlite3_int64 at) {
  const Handle& handle = handle_of(raw);
  if (handle.is_dead) return SQLITE_IOERR_READ;
  const std::string& bytes = handle.file->now;
  const auto offset = static_cast<std::size_t>(at);
  const auto wanted = static_cast<std::size_t>(size);
  const std::size_t there = offset < bytes.size() ? std::min(wanted, bytes.size() - offset) : 0;
  if (there > 0) std::memcpy(out, bytes.data() + offset, there);
  std::memset(static_cast<char*>(out) + there, 0, wanted - there);
  return there == wanted ? SQLITE_OK : SQLITE_IOERR_SHORT_READ;
}

int write(sqlite3_file* raw, const void* data, int size, sqlite3_int64 at) {
  Handle& handle = handle_of(raw);
  return handle.disk->write(handle, data, static_cast<std::size_t>(size),
                            static_cast<std::size_t>(at));
}

int truncate(sqlite3_file* raw, sqlite3_int64 size) {
  Handle& handle = handle_of(raw);
  return handle.disk->truncate(handle, static_cast<std::size_t>(size));
}

int sync(sqlite3_file* raw, int) {
  Handle& handle = handle_of(raw);
  return handle.disk->sync(handle);
}

int file_size(sqlite3_file* raw, sqlite3_int64* out) {
  const Handle& handle = handle_of(raw);
  if (handle.is_dead) return SQLITE_IOERR_FSTAT;
  *out = static_cast<sqlite3_int64>(handle.file->now.size());
  return SQLITE_OK;
}

bool is_other(const Handle* holder, const Handle& handle) {
  return holder != nullptr && holder != &handle;
}

/// SQLite asks for SHARED first, then RESERVED or EXCLUSIVE; PENDING lies on the way to the last.
int lock(sqlite3_file* raw, int level) {
  Handle& handle = handle_of(raw);
  File& file = *handle.file;
  if (handle.is_dead) return SQLITE_IOERR_LOCK;
  if (handle.lock >= level) return SQLITE_OK;
  if (is_other(file.exclusive, handle)) return SQLITE_BUSY;
  if (level == SQLITE_LOCK_SHARED) {
    if (is_other(file.pending, handle)) return SQLITE_BUSY;
    ++file.num_shared;
  } else {
    if (is_other(file.reserved, handle) || is_other(file.pending, handle)) return SQLITE_BUSY;
    file.reserved = &handle;
    if (level == SQLITE_LOCK_EXCLUSIVE) {
      file.pending = &handle;
      if (file.num_shared > 1) {
        handle.lock = SQLITE_LOCK_PENDING;
        return SQLITE_BUSY;
      }
      file.exclusive = &handle;
    }
  }
  handle.lock = level;
  return SQLITE_OK;
}

int unlock(sqlite3_file* raw, int level) {
  Handle& handle = handle_of(raw);
  File& file = *handle.file;
  if (handle.is_dead || handle.lock <= level) return SQLITE_OK;
  if (file.exclusive == &handle) file.exclusive = nullptr;
  if (file.pending == &handle) file.pending = nullptr;
  if (file.reserved == &handle) file.reserved = nullptr;
  if (level == SQLITE_LOCK_NONE) --file.num_shared;
  handle.lock = level;
  return SQLITE_OK;
}

int check_reserved_lock(sqlite3_file* raw, int* out) {
  const Handle& handle = handle_of(raw);
  *out = handle.file->reserved != nullptr ? 1 : 0;
  return handle.is_dead ? SQLITE_IOERR_CHECKRESERVEDLOCK : SQLITE_OK;
}

int file_control(sqlite3_file*, int, void*) { return SQLITE_NOTFOUND; }
int sector_size(sqlite3_file*) { return 512; }
int device_characteristics(sqlite3_file*) { return SQLITE_IOCAP_POWERSAFE_OVERWRITE; }

int shm_map(sqlite3_file* raw, int region, int size, int extend, void volatile** out) {
  Handle& handle = handle_of(raw);
  File& file = *handle.file;
  *out = nullptr;
  if (handle.is_dead) return SQLITE_IOERR_SHMMAP;
  if (!handle.has_shm) {
    handle.has_shm = true;
    handle.regions = file.regions;
    ++file.num_shm_users;
  }
  const auto index = static_cast<std::size_t>(region);
  File::Regions& regions = *file.regions;
  if (index >= regions.size() && extend == 0) return SQLITE_OK;
  while (index >= regions.size()) {
    regions.push_back(std::make_unique<char[]>(static_cast<std::size_t>(size)));
  }
  *out = regions[index].get();
  return SQLITE_OK;
}

int shm_unlock(Handle& handle, unsigned mask) {
  File& file = *handle.file;
  for (std::size_t i = 0; i < File::kShmLocks; ++i) {
    const unsigned bit = 1U << i;
    if ((mask & handle.shm_shared & bit) != 0) --file.shm_shared[i];
    if ((mask & handle.shm_exclusive & bit) != 0) file.shm_exclusive[i] = nullptr;
  }
  handle.shm_shared &= ~mask;
  handle.shm_exclusive &= ~mask;
  return SQLITE_OK;
}

int shm_lock(sqlite3_file* raw, int first, int count, int flags) {
  Handle& handle = handle_of(raw);
  File& file = *handle.file;
  if (handle.is_dead) return SQLITE_IOERR_SHMLOCK;
  const unsigned mask = ((1U << count) - 1U) << first;
  if ((flags & SQLITE_SHM_UNLOCK) != 0) return shm_unlock(handle, mask);
  const bool is_shared = (flags & SQLITE_SHM_SHARED) != 0;
  for (std::size_t i = 0; i < File::kShmLocks; ++i) {
    const unsigned bit = 1U << i;
    if ((mask & bit) == 0) continue;
    if (is_other(file.shm_exclusive[i], handle)) return SQLITE_BUSY;
    const int own = (handle.shm_shared & bit) != 0 ? 1 : 0;
    if (!is_shared && file.shm_shared[i] > own) return SQLITE_BUSY;
  }
  for (std::size_t i = 0; i < File::kShmLocks; ++i) {
    const unsigned bit = 1U << i;
    if ((mask & bit) == 0) continue;
    if (!is_shared) {
      file.shm_exclusive[i] = &handle;
      handle.shm_exclusive |= bit;
    } else if ((handle.shm_shared & bit) == 0) {
      ++file.shm_shared[i];
      handle.shm_shared |= bit;
    }
  }
  return SQLITE_OK;
}

void shm_barrier(sqlite3_file*) {}

int shm_unmap(sqlite3_file* raw, int) {
  Handle& handle = handle_of(raw);
  if (!handle.has_shm || handle.is_dead) return SQLITE_OK;
  shm_unlock(handle, ~0U);
  handle.has_shm = false;
  if (--handle.file->num_shm_users == 0) {
    handle.file->regions = std::make_shared<File::Regions>();
  }
  return SQLITE_OK;
}

constexpr sqlite3_io_methods kMethods = {.iVersion = 2,
                                         .xClose = close,
                                         .xRead = read,
                                         .xWrite = write,
                                         .xTruncate = truncate,
                                         .xSync = sync,
                                         .xFileSize = file_size,
                                         .xLock = lock,
                                         .xUnlock = unlock,
                                         .xCheckReservedLock = check_reserved_lock,
                                         .xFileControl = file_control,
                                         .xSectorSize = sector_size,
                                         .xDeviceCharacteristics = device_characteristics,
                                         .xShmMap = shm_map,
                                         .xShmLock = shm_lock,
                                         .xShmBarrier = shm_barrier,
                                         .xShmUnmap = shm_unmap,
                                         .xFetch = nullptr,
                                         .xUnfetch = nullptr};

}  // namespace

const sqlite3_io_methods& disk_file_methods() { return kMethods; }

void SimulatedDisk::drop_locks(Handle& handle) {
  unlock(&handle.base, SQLITE_LOCK_NONE);
  shm_unmap(&handle.base, 0);
}

void SimulatedDisk::File::apply(std::string& contents, const Change& change) const {
  if (change.is_cut) return contents.resize(change.offset);
  const std::size_t end = change.offset + change.bytes.size();
  if (contents.size() < end) contents.resize(end);
  std::memcpy(contents.data() + change.offset, change.bytes.data(), change.bytes.size());
}

}  // namespace ponder::simulation
