#include "tests/e2e/process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <sstream>

namespace ponder::e2e {
namespace {

/// Both ends of a pipe; closes what is left open.
struct Pipe {
  Pipe() { EXPECT_EQ(pipe2(ends.data(), O_CLOEXEC), 0); }
  ~Pipe() {
    close_end(0);
    close_end(1);
  }
  void close_end(std::size_t end) {
    if (ends[end] >= 0) close(ends[end]);
    ends[end] = -1;
  }
  std::array<int, 2> ends{-1, -1};
};

/// Reads what is there; false at the end.
bool drain(int descriptor, std::string& into) {
  std::array<char, 4096> buffer;
  const ssize_t count = read(descriptor, buffer.data(), buffer.size());
  if (count <= 0) return false;
  into.append(buffer.data(), static_cast<std::size_t>(count));
  return true;
}

[[noreturn]] void become_ponder(const std::filesystem::path& scratch,
                                const std::vector<std::string>& arguments, Pipe& in, Pipe& out,
                                Pipe& err) {
  dup2(in.ends[0], STDIN_FILENO);
  dup2(out.ends[1], STDOUT_FILENO);
  dup2(err.ends[1], STDERR_FILENO);
  setenv("PONDER_SESSIONS", (scratch / "sessions.db").c_str(), 1);
  setenv("XDG_STATE_HOME", (scratch / "state").c_str(), 1);  // and nothing in the home of who tests
  std::vector<char*> words;
  for (const auto& argument : arguments) words.push_back(const_cast<char*>(argument.c_str()));
  words.push_back(nullptr);
  execv(PONDER_BINARY, words.data());
  _exit(127);
}

/// What is still to be written to a program.
class Input {
 public:
  explicit Input(const std::vector<Cue>& cues) : cues_(cues) {}
  bool is_done() const { return next_ == cues_.size(); }
  /// Whether the next text may be written, when this is what the program has written so far.
  bool is_due(const std::string& out) {
    if (is_done() || is_due_) return is_due_;
    const std::size_t at = out.find(cues_[next_].after, seen_);
    if (at == std::string::npos) return false;
    seen_ = at + cues_[next_].after.size();
    is_due_ = true;
    return true;
  }
  void write_to(int descriptor) {
    const std::string& text = cues_[next_].text;
    const std::size_t chunk = std::min<std::size_t>(text.size() - written_, 4096);
    const ssize_t count = write(descriptor, text.data() + written_, chunk);
    if (count < 0) return give_up();
    written_ += static_cast<std::size_t>(count);
    if (written_ < text.size()) return;
    written_ = 0;
    is_due_ = false;
    ++next_;
  }
  void give_up() {
    next_ = cues_.size();
    is_due_ = false;
  }

 private:
  const std::vector<Cue>& cues_;
  std::size_t next_ = 0;
  std::size_t written_ = 0;  // of the next cue
  std::size_t seen_ = 0;     // of the output
  bool is_due_ = false;
};

Finished run(const std::filesystem::path& scratch, std::vector<std::string> arguments,
             const std::vector<Cue>& cues, std::size_t interrupt_after_bytes) {
  arguments.insert(arguments.begin(), "ponder");
  Pipe in, out, err;
  const pid_t child = fork();
  if (child == 0) become_ponder(scratch, arguments, in, out, err);
  in.close_end(0);
  out.close_end(1);
  err.close_end(1);
  std::signal(SIGPIPE, SIG_IGN);
  Input input(cues);
  Finished finished;
  bool has_out = true;
  bool has_err = true;
  while (has_out || has_err) {
    if (input.is_done()) in.close_end(1);
    const bool is_due = input.is_due(finished.out);
    std::array<pollfd, 3> waits{pollfd{has_out ? out.ends[0] : -1, POLLIN, 0},
                                pollfd{has_err ? err.ends[0] : -1, POLLIN, 0},
                                pollfd{is_due ? in.ends[1] : -1, POLLOUT, 0}};
    if (poll(waits.data(), waits.size(), -1) < 0) break;
    if ((waits[2].revents & (POLLERR | POLLHUP)) != 0) {
      input.give_up();
    } else if ((waits[2].revents & POLLOUT) != 0) {
      input.write_to(in.ends[1]);
    }
    if (waits[0].revents != 0) has_out = drain(out.ends[0], finished.out);
    if (waits[1].revents != 0) has_err = drain(err.ends[0], finished.err);
    if (interrupt_after_bytes > 0 && finished.out.size() >= interrupt_after_bytes) {
      kill(child, SIGINT);
      interrupt_after_bytes = 0;
    }
  }
  int state = 0;
  waitpid(child, &state, 0);
  finished.status = WIFEXITED(state) ? WEXITSTATUS(state) : 128 + WTERMSIG(state);
  return finished;
}

}  // namespace

Finished ponder(const std::filesystem::path& scratch, std::vector<std::string> arguments,
                const std::string& input, std::size_t interrupt_after_bytes) {
  std::vector<Cue> cues;
  if (!input.empty()) cues.push_back({"", input});
  return run(scratch, std::move(arguments), cues, interrupt_after_bytes);
}

Finished ponder(const std::filesystem::path& scratch, std::vector<std::string> arguments,
                const std::vector<Cue>& cues) {
  return run(scratch, std::move(arguments), cues, 0);
}

Scratch::Scratch() {
  std::string name = (std::filesystem::temp_directory_path() / "ponder-e2e-XXXXXX").string();
  EXPECT_NE(mkdtemp(name.data()), nullptr);
  path_ = name;
}

Scratch::~Scratch() { std::filesystem::remove_all(path_); }

std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in) << path;
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

void write_file(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

}  // namespace ponder::e2e
