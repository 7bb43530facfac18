#include "tests/e2e/running.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "base/assert.h"

namespace ponder::e2e {
namespace {

constexpr std::chrono::minutes kPatience{3};
constexpr int kMsBetweenLooks = 20;

int status_of(int state) { return WIFEXITED(state) ? WEXITSTATUS(state) : 128 + WTERMSIG(state); }

[[noreturn]] void become(std::vector<char*>& words, const Running::Command& command,
                         const std::filesystem::path& output) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const int out = open(output.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  dup2(open("/dev/null", O_RDONLY | O_CLOEXEC), STDIN_FILENO);
  dup2(out, STDOUT_FILENO);
  dup2(out, STDERR_FILENO);
  for (const auto& [name, value] : command.environment) setenv(name.c_str(), value.c_str(), 1);
  execv(words[0], words.data());
  _exit(127);
}

}  // namespace

Running::Running(const Command& command, std::filesystem::path output)
    : output_(std::move(output)) {
  std::vector<std::string> all;
  if (command.network != 0) {
    all = {"/usr/bin/nsenter", fmt::format("--net=/proc/{}/ns/net", command.network)};
  }
  all.insert(all.end(), command.words.begin(), command.words.end());
  std::vector<char*> words;
  for (std::string& word : all) words.push_back(word.data());
  words.push_back(nullptr);
  pid_ = fork();
  PONDER_ASSERT(pid_ >= 0);
  if (pid_ == 0) become(words, command, output_);
}

Running::~Running() {
  if (pid_ < 0) return;
  send(SIGKILL);
  wait();
}

void Running::send(int signal) const {
  if (pid_ > 0) kill(pid_, signal);
}

int Running::wait() {
  PONDER_ASSERT(pid_ > 0);
  int state = 0;
  PONDER_ASSERT(waitpid(pid_, &state, 0) == pid_);
  pid_ = -1;
  return status_of(state);
}

std::string Running::output() const {
  std::stringstream text;
  text << std::ifstream(output_, std::ios::binary).rdbuf();
  return text.str();
}

int run_to_end(const Running::Command& command, const std::filesystem::path& output) {
  return Running(command, output).wait();
}

bool eventually(const std::function<bool()>& is_so) {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (!is_so()) {
    if (std::chrono::steady_clock::now() > end) return false;
    poll(nullptr, 0, kMsBetweenLooks);
  }
  return true;
}

}  // namespace ponder::e2e
