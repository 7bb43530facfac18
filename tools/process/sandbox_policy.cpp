#include "tools/process/sandbox_policy.h"

#include <fmt/format.h>

#include <system_error>

namespace ponder::tools {

namespace fs = std::filesystem;

std::string_view isolation_name(Isolation isolation) {
  return isolation == Isolation::isolated ? "isolated" : "confined";
}

Result<Isolation> parse_isolation(std::string_view name) {
  for (const Isolation isolation : {Isolation::isolated, Isolation::confined}) {
    if (name == isolation_name(isolation)) return isolation;
  }
  return fail(Errc::invalid_argument,
              fmt::format("'{}' is no isolation: isolated or confined", name));
}

Result<std::vector<fs::path>> git_folders(const fs::path& folder) {
  constexpr std::size_t kEntriesMax = 200'000;
  std::vector<fs::path> found;
  std::error_code error;
  std::size_t num_entries = 0;
  auto entry = fs::recursive_directory_iterator(
      folder, fs::directory_options::skip_permission_denied, error);
  for (; !error && entry != fs::recursive_directory_iterator(); entry.increment(error)) {
    if (++num_entries > kEntriesMax) {
      return fail(Errc::exhausted, fmt::format("{} holds more than {} entries: too many to look "
                                               "for .git folders; name a smaller one",
                                               folder.string(), kEntriesMax));
    }
    if (entry->path().filename() != ".git" || entry->is_symlink(error)) continue;
    found.push_back(entry->path());
    entry.disable_recursion_pending();
  }
  if (error) {
    return fail(Errc::unavailable, fmt::format("{}: {}", folder.string(), error.message()));
  }
  return found;
}

}  // namespace ponder::tools
