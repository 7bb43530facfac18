#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "base/async/task_group.h"
#include "runtime/store/sqlite_session_store.h"
#include "tests/simulation/disk.h"
#include "tests/simulation/user.h"

namespace ponder::simulation {

/// What came of a run.
struct Outcome {
  std::uint64_t hash = 0;  // of the story
  std::uint64_t steps = 0;
  std::uint64_t events = 0;
  std::optional<Violation> violation;
};

/// One simulated process: a store on the simulated disk, and the users of its sessions.
class Process {
 public:
  Process(Scene& scene, Witness& witness, std::size_t number, std::filesystem::path folder,
          std::uint64_t seed);
  /// Requires: is_idle().
  ~Process();

  void boot(const std::vector<SessionFacts*>& sessions);
  /// Dead from now on: what it still does reaches nobody, and is to end without time passing.
  void die();
  bool is_idle() const { return num_tasks_ == 0; }
  /// Writes the next of what its store was given, when the disk is ready; false when there is none.
  bool write_one(Random& random);
  Clock::Instant disk_ready_at() const { return disk_ready_at_; }
  ProcessFacts& facts() { return facts_; }

 private:
  boost::asio::awaitable<void> main(std::vector<SessionFacts*> sessions);
  boost::asio::awaitable<void> serve(SessionFacts* session);
  bool open_store();

  Scene* scene_;
  Witness* witness_;
  std::filesystem::path folder_;
  Random random_;
  ProcessFacts facts_;
  boost::asio::io_context disk_{1};
  Clock::Instant disk_ready_at_;
  std::unique_ptr<runtime::SessionStore> store_;
  std::size_t num_tasks_ = 0;
  TaskGroup group_;
};

/// A whole run of a plan, on one thread: steps every handler of every process, moves the time when
/// nothing else is to be done, lets disaster strike between any two steps, and checks.
class World {
 public:
  /// `folder` is a real one for the store's lock files; its name is part of the story.
  /// `is_told`: the story is printed.
  World(Plan plan, std::filesystem::path folder, bool is_told);
  ~World();
  Outcome run();

 private:
  bool step();
  bool advance_time();
  void strike();
  void kill(std::size_t index);
  void cut_power();
  /// Requires: nothing but its own affairs keeps it alive.
  void bury(std::size_t index);
  void replace(std::size_t index);
  void trouble_disk();
  void finish();
  std::vector<SessionFacts*> sessions_of(std::size_t index);

  Scene scene_;
  Witness witness_;
  Random random_;
  SimulatedDisk disk_;
  std::filesystem::path folder_;
  std::vector<std::unique_ptr<Process>> processes_;
  std::uint64_t steps_ = 0;
  std::uint64_t num_disasters_ = 0;
  std::uint64_t num_processes_ = 0;
  std::optional<Clock::Instant> trouble_until_;
};

/// Runs the plan in a world of its own.
Outcome simulate(const Plan& plan, const std::filesystem::path& folder, bool is_told = false);

}  // namespace ponder::simulation
