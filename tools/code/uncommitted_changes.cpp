#include "tools/code/uncommitted_changes.h"

#include <fmt/format.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <exception>
#include <optional>
#include <system_error>
#include <utility>

#include "base/clock.h"
#include "tools/code/project_runner.h"

namespace ponder::tools {
namespace asio = boost::asio;
namespace {

constexpr std::size_t kPatchBytesMax = 16 << 20;
constexpr std::chrono::minutes kTimeMax{5};

/// New files are marked as such in a copy of the index, so that git shows them, and what git writes
/// for that lies beside the copy; the repository itself is only read. $1 is what is left out. Of
/// what the repository's configuration and attributes name, filters alone are run, as by git
/// itself: inside the sandbox.
constexpr const char* kScript = R"(set -e
git() {
  command git -c core.fsmonitor=false -c core.hooksPath=/dev/null -c safe.directory='*' "$@"
}
index=$(git rev-parse --git-path index)
objects=$(git rev-parse --git-path objects)
copy=$(mktemp -d)
mkdir "$copy/objects"
test ! -e "$index" || cp "$index" "$copy/index"
case "$objects" in /*) ;; *) objects="$PWD/$objects" ;; esac
export GIT_INDEX_FILE="$copy/index"
export GIT_OBJECT_DIRECTORY="$copy/objects" GIT_ALTERNATE_OBJECT_DIRECTORIES="$objects"
if test -n "$1"; then
  git add --intent-to-add --all -- . ":(exclude,literal)$1"
else
  git add --intent-to-add --all -- .
fi
since=$(git rev-parse -q --verify HEAD || git hash-object -t tree /dev/null)
git --no-pager diff --no-ext-diff --no-textconv --no-color --no-renames --binary \
  --src-prefix=a/ --dst-prefix=b/ "$since"
)";

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

/// `path` in the folder; empty when it lies elsewhere.
std::string path_inside(const std::filesystem::path& folder, const std::filesystem::path& path) {
  std::error_code error;
  const auto place = std::filesystem::weakly_canonical(path, error).lexically_relative(folder);
  const bool is_inside = !error && !place.empty() && place != "." && *place.begin() != "..";
  return is_inside ? place.string() : "";
}

asio::awaitable<void> run_into(std::optional<Result<ProcessResult>>* out,
                               const ProjectRunner* runner, ProcessRequest request) {
  const Deadline deadline = Deadline::after(system_clock(), kTimeMax);
  std::string note;  // of repositories that the program made: it makes none
  auto result = co_await runner->run(std::move(request), deadline, &note);
  out->emplace(std::move(result));
}

}  // namespace

Result<std::string> uncommitted_changes(const CodeProject& project, asio::any_io_executor pool,
                                        const std::filesystem::path& artefacts) {
  PONDER_TRY(const ProjectRunner runner, ProjectRunner::open(project, std::move(pool)));
  ProcessRequest request(
      {"/bin/sh", "-c", kScript, "sh", path_inside(runner.project().folder, artefacts)});
  request.output_bytes_max = kPatchBytesMax;
  request.environment = project_environment();
  asio::io_context io;
  std::optional<Result<ProcessResult>> result;
  std::exception_ptr thrown;
  asio::co_spawn(io, run_into(&result, &runner, std::move(request)),
                 [&thrown](std::exception_ptr error) { thrown = std::move(error); });
  io.run();
  if (thrown || !result) return fail(Errc::internal, "git's run ended by an exception");
  PONDER_CHECK(*result);
  const ProcessResult& git = **result;
  if (git.exit_code != 0) {
    return fail(Errc::unavailable, fmt::format("git: {}", first_line(git.standard_error.text)));
  }
  if (git.standard_output.bytes_dropped > 0) {
    return fail(Errc::exhausted,
                fmt::format("the patch has more than {} MiB", kPatchBytesMax >> 20));
  }
  return git.standard_output.text;
}

}  // namespace ponder::tools
