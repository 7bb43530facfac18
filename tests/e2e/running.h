#pragma once

#include <sys/types.h>

#include <filesystem>
#include <functional>
#include <string>
#include <utility>
#include <vector>

/// Real programs that run beside the test, and what a test waits for in them.
namespace ponder::e2e {

/// A program that runs until the test lets it go; it is killed with its owner, and with the test.
class Running {
 public:
  struct Command {
    std::vector<std::string> words;                                // the program's path first
    std::vector<std::pair<std::string, std::string>> environment;  // besides what is inherited
    pid_t network = 0;  // it runs in the network namespace of this process; 0: in the test's
  };
  /// What it says goes to the file.
  Running(const Command& command, std::filesystem::path output);
  ~Running();
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

  void send(int signal) const;
  /// Its exit status, or 128 + signal, once it has ended.
  int wait();
  /// What it has said so far.
  std::string output() const;

 private:
  std::filesystem::path output_;
  pid_t pid_ = -1;
};

/// Runs a program to its end; the exit status. What it says goes to the file, after what is there.
int run_to_end(const Running::Command& command, const std::filesystem::path& output);

/// Asks again and again until it is so, for as long as a slow machine may need.
bool eventually(const std::function<bool()>& is_so);

}  // namespace ponder::e2e
