#include "tests/crash/child.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdlib>

#include "base/assert.h"

namespace ponder::crash {
namespace {

using Instant = std::chrono::steady_clock::time_point;
constexpr std::chrono::minutes kTimeMax{20};  // of programs that go on and on

/// The reading end of a pipe and what came out of it.
struct Stream {
  int descriptor = -1;
  std::string text;

  bool is_open() const { return descriptor >= 0; }
  /// Reads what is there; false at the end.
  bool drain() {
    std::array<char, 65536> buffer;
    const ssize_t count = read(descriptor, buffer.data(), buffer.size());
    if (count > 0) {
      text.append(buffer.data(), static_cast<std::size_t>(count));
      return true;
    }
    close(descriptor);
    descriptor = -1;
    return false;
  }
};

struct Child {
  pid_t pid = -1;
  Stream acks;
  Stream output;
  Instant started;
  std::optional<Instant> kill_at;
  bool is_killed = false;
  std::vector<Signal> signals;  // that are still to be given
  bool is_running() const { return acks.is_open() || output.is_open(); }
};

/// Programs that run side by side.
class Children {
 public:
  Children(const std::vector<Command>& commands, std::chrono::milliseconds silence_max);
  bool are_running() const {
    return std::any_of(children_.begin(), children_.end(),
                       [](const Child& child) { return child.is_running(); });
  }
  /// Waits for what comes first, something to read or a time to kill or to give a signal, and does
  /// what is due.
  void wait_once();
  std::vector<Child>& all() { return children_; }

 private:
  Instant kill_time(const Child& child) const {
    return child.kill_at.value_or(std::min(last_sign_ + silence_max_, child.started + kTimeMax));
  }
  Instant next_time() const;
  void signal(Child& child) const;

  std::vector<Child> children_;
  std::chrono::milliseconds silence_max_;
  Instant last_sign_;  // when one of them last said something
};

std::array<int, 2> make_pipe() {
  std::array<int, 2> ends{};
  PONDER_ASSERT(pipe2(ends.data(), O_CLOEXEC) == 0);
  return ends;
}

[[noreturn]] void become(const Command& command, int acks, int output) {
  dup2(output, STDOUT_FILENO);
  dup2(output, STDERR_FILENO);
  dup2(open("/dev/null", O_RDONLY | O_CLOEXEC), STDIN_FILENO);
  if (acks == kAckDescriptor) {
    fcntl(acks, F_SETFD, 0);
  } else {
    dup2(acks, kAckDescriptor);
  }
  for (const auto& [name, value] : command.environment) setenv(name.c_str(), value.c_str(), 1);
  std::vector<char*> words;
  for (const auto& word : command.words) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  execv(words[0], words.data());
  _exit(127);
}

Child start(const Command& command) {
  const std::array<int, 2> acks = make_pipe();
  const std::array<int, 2> output = make_pipe();
  Child child;
  child.started = std::chrono::steady_clock::now();
  if (command.kill_after) child.kill_at = child.started + *command.kill_after;
  child.signals = command.signals;
  child.pid = fork();
  if (child.pid == 0) become(command, acks[1], output[1]);
  close(acks[1]);
  close(output[1]);
  child.acks.descriptor = acks[0];
  child.output.descriptor = output[0];
  return child;
}

Children::Children(const std::vector<Command>& commands, std::chrono::milliseconds silence_max)
    : silence_max_(silence_max) {
  for (const Command& command : commands) children_.push_back(start(command));
  last_sign_ = std::chrono::steady_clock::now();
}

Instant Children::next_time() const {
  auto next = Instant::max();
  for (const Child& child : children_) {
    if (!child.is_running() || child.is_killed) continue;
    next = std::min(next, kill_time(child));
    if (!child.signals.empty()) next = std::min(next, child.started + child.signals.front().after);
  }
  return next;
}

void Children::wait_once() {
  std::vector<pollfd> waits;
  for (const Child& child : children_) {
    waits.push_back({child.acks.descriptor, POLLIN, 0});
    waits.push_back({child.output.descriptor, POLLIN, 0});
  }
  timespec limit{};
  const Instant next = next_time();
  if (next != Instant::max()) {
    const auto left = std::max<std::chrono::nanoseconds>(std::chrono::nanoseconds(0),
                                                         next - std::chrono::steady_clock::now());
    limit.tv_sec = std::chrono::duration_cast<std::chrono::seconds>(left).count();
    limit.tv_nsec = (left % std::chrono::seconds(1)).count();
  }
  ppoll(waits.data(), waits.size(), next == Instant::max() ? nullptr : &limit, nullptr);
  for (std::size_t i = 0; i < children_.size(); ++i) {
    bool has_spoken = false;
    if (waits[2 * i].revents != 0) has_spoken = children_[i].acks.drain();
    if (waits[2 * i + 1].revents != 0) has_spoken = children_[i].output.drain() || has_spoken;
    if (has_spoken) last_sign_ = std::chrono::steady_clock::now();
  }
  for (Child& child : children_) signal(child);
}

void Children::signal(Child& child) const {
  const auto now = std::chrono::steady_clock::now();
  if (!child.is_running() || child.is_killed) return;
  if (now >= kill_time(child)) {
    kill(child.pid, SIGKILL);
    child.is_killed = true;
    return;
  }
  while (!child.signals.empty() && now >= child.started + child.signals.front().after) {
    kill(child.pid, child.signals.front().number);
    child.signals.erase(child.signals.begin());
  }
}

Ended reap(Child& child, bool is_kill_wanted) {
  Ended ended;
  int state = 0;
  waitpid(child.pid, &state, 0);
  ended.took = std::chrono::duration_cast<std::chrono::microseconds>(
      std::chrono::steady_clock::now() - child.started);
  ended.status = WIFEXITED(state) ? WEXITSTATUS(state) : 128 + WTERMSIG(state);
  if (child.is_killed && !is_kill_wanted) ended.status = kHung;
  ended.output = std::move(child.output.text);
  std::size_t begin = 0;
  while (true) {
    const std::size_t end = child.acks.text.find('\n', begin);
    if (end == std::string::npos) break;  // a line that was cut off says nothing
    ended.acks.push_back(child.acks.text.substr(begin, end - begin));
    begin = end + 1;
  }
  return ended;
}

}  // namespace

std::filesystem::path scratch_root() {
  constexpr const char* kMemory = "/dev/shm";
  return access(kMemory, W_OK) == 0 ? kMemory : std::filesystem::temp_directory_path();
}

std::string end_of(const std::string& output) {
  return output.substr(output.size() - std::min<std::size_t>(output.size(), 300));
}

std::vector<Ended> run_together(const std::vector<Command>& commands,
                                std::chrono::milliseconds silence_max) {
  Children children(commands, silence_max);
  while (children.are_running()) children.wait_once();
  std::vector<Ended> ended;
  for (std::size_t i = 0; i < commands.size(); ++i) {
    ended.push_back(reap(children.all()[i], commands[i].kill_after.has_value()));
  }
  return ended;
}

Ended run_alone(const Command& command) { return std::move(run_together({command}).front()); }

}  // namespace ponder::crash
