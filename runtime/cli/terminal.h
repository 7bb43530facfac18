#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>

/// What the program may do with the terminal it writes to.
namespace ponder::cli {

struct TerminalTraits {
  bool is_tty = false;
  bool has_color = false;
  std::size_t columns = 0;  // when it was asked; 0: not a terminal, or it does not say
};

/// Asks about standard output. Colours only on a terminal and without NO_COLOR.
TerminalTraits inspect_stdout(bool no_color);

/// Text from models, tools and logs made safe to print: control characters other than newline and
/// tab become '?', so that no output can move the cursor, recolour or retitle the terminal.
/// `text` may begin or end inside a UTF-8 sequence; such bytes pass.
std::string printable(std::string_view text);

/// The first line of `text`, printable, cut to `columns_max` code points with "..." when longer.
std::string one_line(std::string_view text, std::size_t columns_max);

/// Writes to standard output. Where that fails (a full disk, a closed pipe) standard error is told
/// once, and what was to be shown is lost; the work that it tells of goes on. Never throws, for an
/// exception here would end that work. Thread: any.
void put_out(std::string_view text);
void flush_out();
/// The exit status of a command, whose output has to arrive: 1 instead of 0 where what still waits
/// cannot be written, kClosedPipeStatus (app.h) where nobody reads any more. A loss that was told
/// before changes nothing.
int status_with_output(int status);
/// The same to standard error, of which nobody is told anything.
void put_error(std::string_view text);

/// Standard output of a program that also reads lines: while a person types, what is written waits
/// and comes after.
///
/// Thread: any.
class Output {
 public:
  void write(std::string_view text);
  void flush();
  /// From now on what is written waits; a line that is open is ended.
  void hold();
  /// Writes what has waited.
  void release();

 private:
  void put(std::string_view text);

  std::mutex mutex_;  // guards what follows and the order of writes
  bool is_held_ = false;
  bool is_line_open_ = false;
  std::string waiting_;
};

/// A line that stays at the bottom of the terminal while text scrolls above it. On anything but a
/// terminal it does nothing. The destructor gives the line back.
class StatusBar {
 public:
  explicit StatusBar(bool is_enabled);
  ~StatusBar();
  StatusBar(const StatusBar&) = delete;
  StatusBar& operator=(const StatusBar&) = delete;
  /// Shows `text`, which is cut to the terminal's width. Looks whether that has changed.
  void show(const std::string& text);
  /// Of the terminal, when it was last looked at; 0 where the bar does nothing.
  std::size_t columns() const { return is_enabled_ ? static_cast<std::size_t>(columns_) : 0; }

 private:
  /// False where the terminal is too small, or none.
  bool measure();
  /// Scrolls only what is above the bottom line.
  void claim();

  bool is_enabled_;
  int rows_ = 0;
  int columns_ = 0;
};

}  // namespace ponder::cli
