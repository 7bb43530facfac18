#pragma once

#include "runtime/cli/commands.h"

namespace ponder::cli {

/// Who closed the pipe (head, a pager that was left) has seen enough: as a shell has it for
/// SIGPIPE.
inline constexpr int kClosedPipeStatus = 141;

/// Parses the command line and runs the command. Returns the program's exit status.
int main_with(const Environment& environment, int argc, char** argv);

}  // namespace ponder::cli
