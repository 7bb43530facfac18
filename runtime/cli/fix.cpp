#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>
#include <utility>

#include "runtime/cli/commands.h"
#include "runtime/workflow/fix_workflow.h"

/// `ponder fix`: a project, what is wrong with it, and the command that tells.
namespace ponder::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* kDefaultOut = "ponder-fix";

bool lies_in(const fs::path& path, const fs::path& folder);

/// In the current folder; beside the project for a person who stands in it, or with what ponder
/// keeps where nothing may be written there.
fs::path default_out(const fs::path& project, const fs::path& state_folder) {
  if (!lies_in(kDefaultOut, project)) return kDefaultOut;
  std::error_code error;
  const fs::path beside = fs::canonical(project, error).parent_path();
  const bool is_writable = !error && access(beside.c_str(), W_OK) == 0;
  const fs::path out = (is_writable ? beside : state_folder) / kDefaultOut;
  return lies_in(out, project) ? state_folder / kDefaultOut : out;
}

/// Whether `path`, which may not exist yet, is `folder` or lies below it.
bool lies_in(const fs::path& path, const fs::path& folder) {
  std::error_code error;
  const fs::path inner = fs::weakly_canonical(fs::absolute(path), error);
  const fs::path outer = fs::canonical(folder, error);
  const auto parts = std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end());
  return parts.first == outer.end();
}

/// Whether somebody meant a file that is not there: one word with a folder or an ending.
bool is_missing_file(const std::string& issue) {
  std::error_code error;
  const bool is_word = issue.find_first_of(" \t\n") == std::string::npos;
  const bool is_path = fs::path(issue).has_extension() || issue.find('/') != std::string::npos;
  return is_word && is_path && !fs::exists(issue, error);
}

}  // namespace

int fix(const Environment& environment, RunOptions options) {
  std::error_code error;
  options.request = options.fix.issue;
  if (is_missing_file(options.fix.issue)) {
    return complain(
        options.fix.issue +
        ": there is no such file; say in words what is wrong, or name a file with them");
  }
  if (std::filesystem::is_regular_file(options.fix.issue, error)) {
    std::ifstream in(options.fix.issue, std::ios::binary);
    options.request.assign(std::istreambuf_iterator<char>(in), {});
    if (!in) return complain(options.fix.issue + ": cannot be read");
  }
  options.workflow = runtime::kFixWorkflow;
  if (options.out.empty()) {
    options.out = default_out(options.project.folder, environment.state_folder);
  }
  if (lies_in(options.out, options.project.folder)) {
    return complain("nothing is written into the project: choose an --out outside of it");
  }
  return run(environment, options);
}

}  // namespace ponder::cli
