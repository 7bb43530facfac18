#include "tools/process/detail/waiter.h"

#include <sys/wait.h>

#include <cstring>

extern "C" const char ponder_waiter_begin;  // waiter_image.S
extern "C" const char ponder_waiter_end;

namespace ponder::tools {

std::string_view waiter_image() { return {&ponder_waiter_begin, &ponder_waiter_end}; }

std::optional<ProgramEnd> read_report(std::string_view report) {
  constexpr int kShellSignalBase = 128;
  int status = 0;
  if (report.size() != sizeof status) return std::nullopt;
  std::memcpy(&status, report.data(), sizeof status);
  ProgramEnd end;
  if (WIFSIGNALED(status)) {
    end.signal = WTERMSIG(status);
    end.exit_code = kShellSignalBase + end.signal;
  } else {
    end.exit_code = WEXITSTATUS(status);
  }
  return end;
}

}  // namespace ponder::tools
