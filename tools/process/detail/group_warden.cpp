#include "tools/process/detail/group_warden.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

namespace ponder::tools {
namespace {

// Built-in commands only. A group whose parent is gone gets SIGHUP if one of it is stopped.
constexpr const char* kWatch =
    "trap '' HUP INT QUIT TERM TSTP TTIN TTOU; while read line; do :; done; kill -KILL 0";

}  // namespace

Result<GroupWarden> GroupWarden::start() {
  std::array<int, 2> ends = {-1, -1};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) {
    return fail(Errc::unavailable, fmt::format("no pipe: {}", strerror(errno)));
  }
  const UniqueFd end_of_us(ends[0]);
  UniqueFd alive(ends[1]);
  const UniqueFd nothing(open("/dev/null", O_RDWR | O_CLOEXEC));
  SpawnRequest request;
  request.program = "/bin/sh";
  request.argv = {"sh", "-c", kWatch};
  request.working_folder = "/";
  request.standard_input = end_of_us.get();
  request.standard_output = nothing.get();
  request.standard_error = nothing.get();
  request.outlives_us = true;
  PONDER_TRY(SpawnedProcess process, spawn(request));
  return GroupWarden(std::move(alive), std::move(process));
}

}  // namespace ponder::tools
