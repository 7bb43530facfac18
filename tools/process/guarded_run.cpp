#include "tools/process/guarded_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/this_coro.hpp>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "base/async/offload.h"
#include "base/async/with_deadline.h"
#include "tools/process/git_places.h"

namespace ponder::tools {
namespace {

namespace asio = boost::asio;
namespace fs = std::filesystem;

/// Without what lies in another of them: a folder that is read-only is so with all that it holds,
/// and the way to something inside would be made writable.
std::vector<fs::path> without_nested(std::vector<fs::path> paths) {
  std::sort(paths.begin(), paths.end());  // by parts: what lies in a folder follows it
  std::vector<fs::path> kept;
  for (fs::path& path : paths) {
    const bool is_nested =
        !kept.empty() &&
        std::mismatch(kept.back().begin(), kept.back().end(), path.begin(), path.end()).first ==
            kept.back().end();
    if (!is_nested) kept.push_back(std::move(path));
  }
  return kept;
}

/// A folder in which programs run, and what was there before the first of them began.
///
/// Thread: any number; enter() and leave() block.
class ProjectFolder {
 public:
  /// The one object that all who run programs in `folder` share.
  static std::shared_ptr<ProjectFolder> of(const fs::path& folder) {
    static std::mutex mutex;
    static std::map<fs::path, std::weak_ptr<ProjectFolder>> all;
    const std::scoped_lock lock(mutex);
    std::erase_if(all, [](const auto& entry) { return entry.second.expired(); });
    std::weak_ptr<ProjectFolder>& place = all[folder];
    auto object = place.lock();
    if (!object) place = object = std::make_shared<ProjectFolder>(folder);
    return object;
  }
  explicit ProjectFolder(fs::path folder) : folder_(std::move(folder)) {}

  /// Counts a program that begins, and gives what it must not change.
  Result<std::vector<fs::path>> enter() {
    const std::scoped_lock lock(mutex_);
    if (num_running_ == 0) {
      PONDER_TRY(known_, git_places(folder_));
    }
    std::vector<fs::path> read_only;
    for (const GitPlace& place : known_) {
      if (place.is_bare && place.path == folder_) {
        return fail(Errc::invalid_argument,
                    fmt::format("{} is itself a git repository, without files to work on: no "
                                "program runs in there",
                                folder_.string()));
      }
      if (place.link.empty()) read_only.push_back(place.path);
    }
    ++num_running_;
    return without_nested(std::move(read_only));
  }

  /// Counts a program that has ended. The last one gives a note about what it removed.
  Result<std::string> leave() {
    const std::scoped_lock lock(mutex_);
    if (--num_running_ > 0) return std::string();
    // However many entries a program makes, it hides nothing behind them.
    PONDER_TRY(const auto places, git_places(folder_, kGitEntriesUnlimited));
    std::string note;
    Status status;
    for (const GitPlace& place : places) {
      if (std::find(known_.begin(), known_.end(), place) != known_.end()) continue;
      const Status removed = remove_git(place);
      if (!removed) status = removed;
      const fs::path shown = place.is_bare ? place.path / "HEAD" : place.path;
      note += fmt::format("[{} was removed: a repository may not be made here]\n", shown.string());
    }
    PONDER_CHECK(status);
    return note;
  }

 private:
  const fs::path folder_;
  std::mutex mutex_;
  std::vector<GitPlace> known_;
  std::size_t num_running_ = 0;
};

/// Runs the program; being cancelled ends the program, but not the look at what it left.
asio::awaitable<Result<ProcessResult>> run_between(std::shared_ptr<ProjectFolder> guard,
                                                   ProcessRequest request, SandboxPolicy policy,
                                                   asio::any_io_executor pool, std::string* note) {
  co_await asio::this_coro::throw_if_cancelled(false);
  auto enter = [&guard] { return guard->enter(); };
  auto read_only = co_await offload(pool, enter);
  PONDER_CO_CHECK(read_only);
  policy.read_only.insert(policy.read_only.end(), read_only->begin(), read_only->end());
  Result<ProcessResult> result = tl::unexpected<Error>(Error(Errc::cancelled, "not begun"));
  const auto cancellation = co_await asio::this_coro::cancellation_state;
  if (cancellation.cancelled() == asio::cancellation_type::none) {
    result = co_await run_process(std::move(request), std::move(policy), Deadline::never());
  }
  co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
  auto leave = [&guard] { return guard->leave(); };
  auto removed = co_await offload(pool, leave);
  if (!removed) {
    co_return fail(removed.error().code,
                   removed.error().message +
                       ": look for git repositories that a program made before you use git here");
  }
  *note = std::move(*removed);
  co_return result;
}

}  // namespace

asio::awaitable<Result<ProcessResult>> run_guarded(ProcessRequest request, SandboxPolicy policy,
                                                   fs::path folder, Deadline deadline,
                                                   asio::any_io_executor pool, std::string* note) {
  auto guard = ProjectFolder::of(folder);
  policy.writable.push_back(std::move(folder));
  auto work =
      run_between(std::move(guard), std::move(request), std::move(policy), std::move(pool), note);
  auto result = co_await with_deadline(std::move(work), deadline);
  co_return result;
}

}  // namespace ponder::tools
