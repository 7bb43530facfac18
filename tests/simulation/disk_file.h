#pragma once

#include <sqlite3.h>

#include <array>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "tests/simulation/disk.h"

namespace ponder::simulation {

/// A file as programs see it, as a power failure would leave it, and the way from one to the other.
struct SimulatedDisk::File {
  struct Change {
    std::size_t offset = 0;
    std::string bytes;
    bool is_cut = false;  // the file ends at `offset`
  };
  void apply(std::string& contents, const Change& change) const;

  std::string now;
  std::string synced;
  std::vector<Change> unsynced;
  int num_lost = 0;  // syncs that failed and left changes that later ones pass over

  // Locks on the database as a whole. Each holder counts once in `num_shared`.
  int num_shared = 0;
  Handle* reserved = nullptr;
  Handle* pending = nullptr;
  Handle* exclusive = nullptr;

  // The memory that connections of all processes share. Dead ones still look at theirs.
  static constexpr std::size_t kShmLocks = SQLITE_SHM_NLOCK;
  using Regions = std::vector<std::unique_ptr<char[]>>;
  std::shared_ptr<Regions> regions = std::make_shared<Regions>();
  int num_shm_users = 0;
  std::array<int, kShmLocks> shm_shared{};
  std::array<Handle*, kShmLocks> shm_exclusive{};
};

/// One open file. SQLite owns the memory; `base` comes first, as it wants.
struct SimulatedDisk::Handle {
  sqlite3_file base;
  SimulatedDisk* disk = nullptr;
  std::shared_ptr<File> file;  // lives on here when it has been removed
  std::size_t process = 0;
  int num_lost = 0;  // of the file, as far as it was told
  bool is_dead = false;
  int lock = SQLITE_LOCK_NONE;
  bool has_shm = false;
  std::shared_ptr<File::Regions> regions;
  unsigned shm_shared = 0;  // bits
  unsigned shm_exclusive = 0;
};

/// The callbacks of open files.
const sqlite3_io_methods& disk_file_methods();

}  // namespace ponder::simulation
