#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

namespace ponder::e2e {

/// `ponder` on a terminal of its own, at which a test types.
class PseudoTerminal {
 public:
  /// Of so many rows and columns; 0: it does not say.
  PseudoTerminal(const std::filesystem::path& scratch, std::vector<std::string> arguments,
                 unsigned short rows = 0, unsigned short columns = 0);
  /// Kills the program if it still runs.
  ~PseudoTerminal();
  PseudoTerminal(const PseudoTerminal&) = delete;
  PseudoTerminal& operator=(const PseudoTerminal&) = delete;

  void type(const std::string& keys);
  /// Reads until `text` has been shown after what was waited for before; false when the program
  /// ends without showing it, or after a minute.
  bool shows(const std::string& text);
  /// Reads to the end and gives the exit status; 128 + signal when it was killed.
  int wait();
  /// Whether the terminal echoes and gives whole lines, as it did before the program.
  bool is_as_before() const;
  /// All that was shown.
  const std::string& screen() const { return screen_; }

 private:
  bool read_more();

  pid_t child_ = -1;
  int terminal_ = -1;
  std::string screen_;
  std::size_t seen_ = 0;  // waited for up to here
};

}  // namespace ponder::e2e
