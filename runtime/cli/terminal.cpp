#include "runtime/cli/terminal.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <system_error>
#include <utility>

#include "runtime/cli/app.h"

namespace ponder::cli {
namespace {

std::atomic<bool> is_loss_told = false;

void tell_lost_output(int error) {
  if (is_loss_told.exchange(true)) return;
  put_error(fmt::format("ponder: note: standard output is lost ({}); the work goes on\n",
                        std::generic_category().message(error)));
}

}  // namespace

TerminalTraits inspect_stdout(bool no_color) {
  TerminalTraits traits;
  traits.is_tty = isatty(STDOUT_FILENO) == 1;
  traits.has_color = traits.is_tty && !no_color;
  winsize size{};
  if (traits.is_tty && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0) traits.columns = size.ws_col;
  return traits;
}

std::string printable(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const bool is_c0 = byte < 0x20 && byte != '\n' && byte != '\t';
    // C1 controls are U+0080 to U+009F: 0xC2 followed by 0x80 to 0x9F.
    const bool is_c1 =
        byte == 0xC2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xA0;
    if (is_c1) ++i;
    if (is_c0 || is_c1 || byte == 0x7F)
      out += '?';
    else
      out += text[i];
  }
  return out;
}

std::string one_line(std::string_view text, std::size_t columns_max) {
  const bool has_more_lines = text.find('\n') != std::string_view::npos;
  std::string line = printable(text.substr(0, text.find('\n')));
  std::size_t columns = 0;
  for (std::size_t i = 0; i < line.size(); ++i) {
    if ((static_cast<unsigned char>(line[i]) & 0xC0) == 0x80) continue;
    if (columns++ == columns_max) return line.substr(0, i) + "...";
  }
  return has_more_lines ? line + " ..." : line;
}

void Output::write(std::string_view text) {
  const std::lock_guard lock(mutex_);
  if (is_held_) {
    waiting_ += text;
  } else {
    put(text);
  }
}

void Output::flush() {
  const std::lock_guard lock(mutex_);
  if (!is_held_) flush_out();
}

void Output::hold() {
  const std::lock_guard lock(mutex_);
  if (is_held_) return;
  is_held_ = true;
  if (is_line_open_) put_out("\n");
  is_line_open_ = false;
  flush_out();
}

void Output::release() {
  const std::lock_guard lock(mutex_);
  if (!is_held_) return;
  is_held_ = false;
  put(std::exchange(waiting_, {}));
  flush_out();
}

void Output::put(std::string_view text) {
  if (text.empty()) return;
  put_out(text);
  is_line_open_ = text.back() != '\n';
}

void put_out(std::string_view text) {
  if (text.empty()) return;
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size()) tell_lost_output(errno);
}

void flush_out() {
  if (std::fflush(stdout) != 0) tell_lost_output(errno);
}

int status_with_output(int status) {
  if (is_loss_told || std::fflush(stdout) == 0) return status;
  if (errno == EPIPE) return status == 0 ? kClosedPipeStatus : status;
  put_error(
      fmt::format("ponder: error: standard output: {}\n", std::generic_category().message(errno)));
  return status == 0 ? 1 : status;
}

void put_error(std::string_view text) {
  if (!text.empty()) (void)std::fwrite(text.data(), 1, text.size(), stderr);
}

StatusBar::StatusBar(bool is_enabled) : is_enabled_(is_enabled) {
  is_enabled_ = is_enabled_ && measure();
  if (!is_enabled_) return;
  put_out("\n\x1b[1A");  // room for the bottom line
  claim();
}

bool StatusBar::measure() {
  winsize size{};
  constexpr int kRowsMin = 8;
  constexpr int kColumnsMin = 20;
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0) return false;
  rows_ = size.ws_row;
  columns_ = size.ws_col;
  return rows_ >= kRowsMin && columns_ >= kColumnsMin;
}

void StatusBar::claim() {
  put_out(
      fmt::format("\x1b"
                  "7\x1b[1;{}r\x1b"
                  "8",
                  rows_ - 1));
  flush_out();
}

StatusBar::~StatusBar() {
  if (!is_enabled_) return;
  put_out(
      fmt::format("\x1b"
                  "7\x1b[{};1H\x1b[K\x1b[r\x1b"
                  "8",
                  rows_));
  flush_out();
}

void StatusBar::show(const std::string& text) {
  if (!is_enabled_) return;
  const int rows_before = rows_;
  if (!measure()) return;
  if (rows_ != rows_before) claim();
  put_out(
      fmt::format("\x1b"
                  "7\x1b[{};1H\x1b[K\x1b[7m {} \x1b[0m\x1b"
                  "8",
                  rows_, one_line(text, static_cast<std::size_t>(columns_) - 6)));
  flush_out();
}

}  // namespace ponder::cli
