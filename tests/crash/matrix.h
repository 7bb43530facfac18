#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "tests/crash/audit.h"
#include "tests/crash/child.h"

/// The crash matrix: real processes, killed or given a broken disk or clock at every place and at
/// any time, and what they leave behind audited each time.
namespace ponder::crash {

/// The programs that the matrix starts.
struct Programs {
  std::filesystem::path worker;   // ponder_crash_worker
  std::filesystem::path faults;   // the library for LD_PRELOAD
  std::filesystem::path ponder;   // the product
  std::filesystem::path library;  // its tools
};

/// One line of the table.
struct Row {
  std::string name;
  std::uint64_t rounds = 0;  // sessions or groups of them, each brought to its end
  std::uint64_t kills = 0;   // processes that died by SIGKILL
  std::uint64_t faults = 0;  // processes that ran on a broken disk or clock and lived
  Findings findings;
  /// A power failure takes the last events of a store that is not synced at each append.
  bool may_lose_events = false;
  bool is_clean() const;
};

/// A folder below `root` for each round, so that a round that found something can be looked at;
/// those that found nothing are removed.
class RoundFolders {
 public:
  explicit RoundFolders(std::filesystem::path root) : root_(std::move(root)) {}
  std::filesystem::path next();
  static void remove(const std::filesystem::path& folder);

 private:
  std::filesystem::path root_;
  std::uint64_t count_ = 0;
};

/// What is done to a process: a fault for the library, a checkpoint, or an instant.
struct Attack {
  std::string fault;  // as PONDER_FAULT takes it; empty: none
  long die_at = 0;    // a checkpoint of the worker; 0: none
  std::optional<std::chrono::microseconds> kill_after;
  std::string words() const;  // for people
};

/// Crashes of `ponder_crash_worker`: the product's agent and store, with tools of every effect.
class WorkerMatrix {
 public:
  /// `stride` 1 takes every place, n every n-th.
  WorkerMatrix(const Programs& programs, std::filesystem::path root, std::uint64_t seed);

  /// Runs one session undisturbed; everything is compared with it. Why it could not, if so.
  Status make_twin();

  Row every_checkpoint(long stride);
  /// `action` is a fault that kills: kill, tear or power.
  Row every_call(const std::string& action, long stride);
  /// A crash in the middle, and then one at every call of the process that goes on.
  Row every_call_of_recovery(const std::string& action, long stride);
  /// `action` is enospc, eio, eio-once or clock; the process that goes on has a sound machine.
  Row every_failure(const std::string& action, long stride);
  /// `kills` or a few more, at instants drawn from the seed: several sessions, one or two processes
  /// on the store, several crashes before they come to an end.
  Row random_instants(std::uint64_t kills);

 private:
  struct Group {
    std::string owner;
    std::size_t sessions;
  };
  Command worker(const std::filesystem::path& folder, const Group& group, const Attack& attack);
  /// Attacks one after the other, then an undisturbed end, then the audit.
  void round(Row& row, const std::vector<Attack>& attacks);
  void random_round(Row& row);
  void conclude(Row& row, const std::filesystem::path& folder, const std::vector<Group>& groups,
                std::vector<std::string> acks, const std::string& what_was_done);
  static void count(Row& row, const Ended& ended, const Attack& attack);

  Programs programs_;
  RoundFolders folders_;
  std::mt19937_64 random_;
  Twin twin_;
  long checkpoints_ = 0;  // of an undisturbed run
  long calls_ = 0;        // that change files
  long syncs_ = 0;
  long clock_readings_ = 0;
  std::chrono::microseconds took_{0};
};

/// The fault library's counts after a run: calls, syncs, readings of the wall clock.
struct FaultCounts {
  long calls = 0;
  long syncs = 0;
  long clock_readings = 0;
};
FaultCounts read_fault_counts(const std::filesystem::path& file);

/// The variables that make a program run on a machine with this fault. Empty `count_file`: none.
std::vector<std::pair<std::string, std::string>> fault_environment(
    const Programs& programs, const std::filesystem::path& watched, const std::string& fault,
    const std::filesystem::path& count_file);

}  // namespace ponder::crash
