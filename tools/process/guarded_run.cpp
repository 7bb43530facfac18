#include "tools/process/guarded_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <system_error>
#include <utility>
#include <vector>

#include "base/async/offload.h"

namespace ponder::tools {
namespace asio = boost::asio;
namespace fs = std::filesystem;
namespace {

std::string remove_new(const std::vector<fs::path>& before, const std::vector<fs::path>& after) {
  std::string note;
  for (const fs::path& folder : after) {
    if (std::find(before.begin(), before.end(), folder) != before.end()) continue;
    std::error_code error;
    fs::remove_all(folder, error);
    note += fmt::format("[{} was removed: a repository may not be made here]\n", folder.string());
  }
  return note;
}

}  // namespace

asio::awaitable<Result<ProcessResult>> run_guarded(ProcessRequest request, SandboxPolicy policy,
                                                   fs::path folder, Deadline deadline,
                                                   asio::any_io_executor pool, std::string* note) {
  auto find = [folder] { return git_folders(folder); };
  auto before = co_await offload(pool, find);
  PONDER_CO_CHECK(before);
  policy.writable.push_back(folder);
  policy.read_only.insert(policy.read_only.end(), before->begin(), before->end());
  auto result = co_await run_process(std::move(request), std::move(policy), deadline);
  auto after = co_await offload(pool, find);
  PONDER_CO_CHECK(after);
  *note = remove_new(*before, *after);
  co_return result;
}

}  // namespace ponder::tools
