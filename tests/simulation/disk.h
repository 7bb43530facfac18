#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "tests/simulation/random.h"

struct sqlite3_vfs;

namespace ponder::simulation {

/// What fails when something is written.
enum class DiskTrouble { none, full, writes, syncs };

/// A disk in memory that SQLite takes for the machine's, shared by simulated processes, with the
/// ways in which real ones lose data.
///
/// A path is seen by its process: DIR/p3/sessions.db is process 3's view of DIR/sessions.db. A
/// killed process leaves what it wrote; when the power is cut, each file keeps what was synced and,
/// of what was written since, a part that chance decides, in pieces and in any order.
///
/// While one exists it is SQLite's default VFS. Thread: one. Lifetime: outlives all connections.
class SimulatedDisk {
 public:
  static constexpr std::size_t kProcessesMax = 10;

  explicit SimulatedDisk(const Clock& clock, Random random);
  ~SimulatedDisk();
  SimulatedDisk(const SimulatedDisk&) = delete;
  SimulatedDisk& operator=(const SimulatedDisk&) = delete;

  /// From now on the process cannot reach the disk any more; its locks are gone.
  void kill(std::size_t process);
  /// Requires: every process has been killed.
  void cut_power();
  /// A new process takes the dead one's place.
  void revive(std::size_t process) { dead_[process] = false; }

  void set_trouble(DiskTrouble trouble) { trouble_ = trouble; }
  DiskTrouble trouble() const { return trouble_; }
  std::size_t num_open() const { return handles_.size(); }

  // For the VFS's callbacks, which C calls.
  struct File;
  struct Handle;
  Handle* open(void* place, std::string_view path);
  void close(Handle* handle);
  bool exists(std::string_view path) const;
  int remove(std::string_view path);
  int write(Handle& handle, const void* data, std::size_t size, std::size_t offset);
  int truncate(Handle& handle, std::size_t size);
  int sync(Handle& handle);
  void drop_locks(Handle& handle);
  Random& random() { return random_; }
  const Clock& clock() const { return *clock_; }

 private:
  void cut_power(File& file);
  const Clock* clock_;
  Random random_;
  DiskTrouble trouble_ = DiskTrouble::none;
  std::array<bool, kProcessesMax> dead_{};
  std::map<std::string, std::shared_ptr<File>, std::less<>> files_;  // also held by open handles
  std::vector<Handle*> handles_;
  std::unique_ptr<sqlite3_vfs> vfs_;
};

}  // namespace ponder::simulation
