#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "tools/process/sandbox_policy.h"

namespace ponder::tools {

/// A program to run. Nothing of our own environment is handed on: a process gets PATH, HOME, LANG,
/// TMPDIR and what stands in `environment`, which the program alone sees: what sets the sandbox up
/// does not.
struct ProcessRequest {
  explicit ProcessRequest(std::vector<std::string> argv) : argv(std::move(argv)) {}
  std::vector<std::string> argv;         // argv[0] is looked up in the sandbox's PATH
  std::filesystem::path working_folder;  // readable under the policy; empty: /tmp
  std::vector<std::pair<std::string, std::string>> environment;
  std::string input;                       // its standard input, which then ends
  std::size_t output_bytes_max = 1 << 20;  // of each stream; see ProcessOutput
};

/// What a stream brought: all of it, or its beginning and its end.
struct ProcessOutput {
  std::string text;                 // at most output_bytes_max, and a note where bytes are missing
  std::uint64_t bytes_dropped = 0;  // from the middle, where `text` says so
};

struct ProcessResult {
  int exit_code = 0;  // 128 + signal for a process that a signal ended
  int signal = 0;     // 0: it ended by itself
  ProcessOutput standard_output;
  ProcessOutput standard_error;
};

/// Runs a program in a sandbox, to its end. When the result is there, no process that the program
/// started is left, whatever it did to stay.
///
/// Errors: `unavailable` when the sandbox cannot be set up as the policy wants it: nothing ran
/// then; `not_found` when there is no such program; `deadline` and `cancelled` after everything has
/// been killed; `invalid_argument` for a policy that contradicts itself, and for variables that no
/// environment can hold.
/// Thread: resumes on the caller's executor; blocks nothing but for the few milliseconds of a
/// start and, in `confined`, for the removal of what the program left in its temporary folder.
boost::asio::awaitable<Result<ProcessResult>> run_process(ProcessRequest request,
                                                          SandboxPolicy policy, Deadline deadline);

}  // namespace ponder::tools
