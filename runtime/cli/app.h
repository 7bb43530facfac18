#pragma once

#include "runtime/cli/commands.h"

namespace ponder::cli {

/// Parses the command line and runs the command. Returns the program's exit status.
int main_with(const Environment& environment, int argc, char** argv);

}  // namespace ponder::cli
