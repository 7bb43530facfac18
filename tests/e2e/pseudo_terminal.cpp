#include "tests/e2e/pseudo_terminal.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>

namespace ponder::e2e {
namespace {

constexpr int kPatienceMs = 60'000;

}  // namespace

PseudoTerminal::PseudoTerminal(const std::filesystem::path& scratch,
                               std::vector<std::string> arguments, unsigned short rows,
                               unsigned short columns) {
  arguments.insert(arguments.begin(), "ponder");
  std::vector<char*> words;
  for (auto& argument : arguments) words.push_back(argument.data());
  words.push_back(nullptr);
  const std::string store = (scratch / "sessions.db").string();
  winsize size{};
  size.ws_row = rows;
  size.ws_col = columns;
  child_ = forkpty(&terminal_, nullptr, nullptr, &size);
  EXPECT_GE(child_, 0);
  if (child_ != 0) return;
  setenv("PONDER_SESSIONS", store.c_str(), 1);
  setenv("TERM", "xterm", 1);
  setenv("NO_COLOR", "1", 1);
  execv(PONDER_BINARY, words.data());
  _exit(127);
}

PseudoTerminal::~PseudoTerminal() {
  if (child_ > 0) {
    kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
  }
  close(terminal_);
}

void PseudoTerminal::type(const std::string& keys) {
  EXPECT_EQ(write(terminal_, keys.data(), keys.size()), static_cast<ssize_t>(keys.size()));
}

bool PseudoTerminal::read_more() {
  pollfd ready{terminal_, POLLIN, 0};
  if (poll(&ready, 1, kPatienceMs) != 1) {
    kill(child_, SIGKILL);
    return false;
  }
  std::array<char, 4096> buffer;
  const ssize_t count = read(terminal_, buffer.data(), buffer.size());
  if (count <= 0) return false;  // the other side has no more users
  screen_.append(buffer.data(), static_cast<std::size_t>(count));
  return true;
}

bool PseudoTerminal::shows(const std::string& text) {
  while (true) {
    const std::size_t at = screen_.find(text, seen_);
    if (at != std::string::npos) {
      seen_ = at + text.size();
      return true;
    }
    if (!read_more()) return false;
  }
}

int PseudoTerminal::wait() {
  while (read_more()) {
  }
  int state = 0;
  waitpid(child_, &state, 0);
  child_ = -1;
  return WIFEXITED(state) ? WEXITSTATUS(state) : 128 + WTERMSIG(state);
}

bool PseudoTerminal::is_as_before() const {
  termios now{};
  EXPECT_EQ(tcgetattr(terminal_, &now), 0);
  return (now.c_lflag & ECHO) != 0 && (now.c_lflag & ICANON) != 0;
}

}  // namespace ponder::e2e
