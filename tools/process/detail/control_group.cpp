#include "tools/process/detail/control_group.h"

#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <fstream>
#include <mutex>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace ponder::tools {
namespace {

namespace fs = std::filesystem;

/// The groups that we are in, by controller, as /proc/self/cgroup lists them: "N:controllers:path";
/// version 2 is "0::path".
struct OwnGroup {
  fs::path folder;
  bool is_version_2 = false;
};

std::optional<OwnGroup> find_pids_group() {
  std::ifstream list("/proc/self/cgroup");
  std::string line;
  std::optional<OwnGroup> unified;
  while (std::getline(list, line)) {
    const auto first = line.find(':');
    const auto second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string path = line.substr(second + 1);
    if (controllers == "pids") return OwnGroup{fs::path("/sys/fs/cgroup/pids" + path), false};
    if (controllers.empty()) unified = OwnGroup{fs::path("/sys/fs/cgroup" + path), true};
  }
  return unified;
}

bool write_file(const fs::path& file, std::string_view text) {
  std::ofstream out(file);
  out << text << std::flush;
  return out.good();
}

/// A group can be removed when its last process has been reaped, which may be after we are done
/// with it. What was left over is removed by the next one that is made: ours, which nobody uses any
/// more, and those of programs that are gone.
class LeftOver {
 public:
  void add(fs::path folder) {
    const std::lock_guard lock(mutex_);
    folders_.push_back(std::move(folder));
  }
  void remove() {
    const std::lock_guard lock(mutex_);
    std::error_code ignored;
    std::erase_if(folders_,
                  [&ignored](const fs::path& folder) { return fs::remove(folder, ignored); });
  }

 private:
  std::mutex mutex_;
  std::vector<fs::path> folders_;
};

LeftOver& left_over() {
  static LeftOver folders;
  return folders;
}

void remove_groups_of_the_dead(const fs::path& parent) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(parent, error)) {
    int pid = 0;
    const std::string name = entry.path().filename().string();
    if (std::sscanf(name.c_str(), "ponder-%d-", &pid) != 1) continue;
    if (!fs::exists(fmt::format("/proc/{}", pid), error)) fs::remove(entry.path(), error);
  }
}

}  // namespace

Result<ProcessGroupLimit> ProcessGroupLimit::create(std::uint32_t processes_max) {
  static std::atomic<std::uint64_t> created{0};
  const auto own = find_pids_group();
  if (!own) return fail(Errc::unavailable, "no control group for process numbers");
  left_over().remove();
  if (created == 0) remove_groups_of_the_dead(own->folder);
  std::error_code error;
  const fs::path folder = own->folder / fmt::format("ponder-{}-{}", getpid(), ++created);
  if (!fs::create_directory(folder, error)) {
    return fail(Errc::unavailable,
                fmt::format("cannot make the control group {}: {}", folder.string(),
                            error ? error.message() : "it is there already"));
  }
  ProcessGroupLimit limit(folder);
  if (!write_file(folder / "pids.max", fmt::format("{}", processes_max))) {
    return fail(Errc::unavailable,
                fmt::format("the control group {} cannot limit processes", folder.string()));
  }
  return limit;
}

ProcessGroupLimit::ProcessGroupLimit(ProcessGroupLimit&& other) noexcept
    : folder_(std::exchange(other.folder_, fs::path())) {}

ProcessGroupLimit::~ProcessGroupLimit() {
  std::error_code ignored;
  if (folder_.empty() || fs::remove(folder_, ignored)) return;
  left_over().add(std::move(folder_));
}

}  // namespace ponder::tools
