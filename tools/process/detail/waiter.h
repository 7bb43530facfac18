#pragma once

#include <optional>
#include <string_view>

namespace ponder::tools {

/// The program tools/process/waiter as the bytes of its file, which ponder holds: it is laid into
/// each sandbox of bubblewrap's and needs no place on the machine. Lives as long as ponder.
std::string_view waiter_image();

/// How a program ended.
struct ProgramEnd {
  int exit_code = 0;  // 128 + signal for a process that a signal ended
  int signal = 0;     // 0: it ended by itself
};

/// What the waiter wrote to its descriptor; nothing when it was killed before it could. The program
/// is kept from the descriptor, but not from its waiter: a report is no proof.
std::optional<ProgramEnd> read_report(std::string_view report);

}  // namespace ponder::tools
