#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

/// Real processes: started, watched, and killed at an instant.
namespace ponder::crash {

struct Signal {
  std::chrono::microseconds after;  // the start
  int number;
};

struct Command {
  std::vector<std::string> words;                                // the program's path first
  std::vector<std::pair<std::string, std::string>> environment;  // besides what is inherited
  std::optional<std::chrono::microseconds> kill_after;  // SIGKILL, that long after the start
  std::vector<Signal> signals;                          // others, in order
};

/// Where processes may leave their files: in memory where that is possible. A process that is
/// killed leaves the same there as on a disk, and the fault library makes the disk's own failures.
std::filesystem::path scratch_root();

/// The descriptor on which a child acknowledges.
inline constexpr int kAckDescriptor = 3;

struct Ended {
  int status = -1;  // exit status; 128 + signal
  bool was_killed() const { return status == 128 + 9; }
  std::vector<std::string> acks;  // whole lines
  std::string output;             // standard output and error
  std::chrono::microseconds took{0};
};

/// The last words of an output: where errors are.
std::string end_of(const std::string& output);

/// Runs the commands side by side until all have ended. Where none of them has said anything for
/// as long as `silence_max` those that are left are killed and end as `kHung`: however slow the
/// machine is, work that goes on says so.
inline constexpr int kHung = -2;
std::vector<Ended> run_together(const std::vector<Command>& commands,
                                std::chrono::milliseconds silence_max = std::chrono::minutes(1));
Ended run_alone(const Command& command);

}  // namespace ponder::crash
