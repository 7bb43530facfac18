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

/// Whether `path`, which may not exist yet, is `folder` or lies below it.
bool lies_in(const fs::path& path, const fs::path& folder) {
  std::error_code error;
  const fs::path inner = fs::weakly_canonical(fs::absolute(path), error);
  const fs::path outer = fs::canonical(folder, error);
  const auto parts = std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end());
  return parts.first == outer.end();
}

}  // namespace

int fix(const Environment& environment, RunOptions options) {
  std::error_code error;
  options.request = options.fix.issue;
  if (std::filesystem::is_regular_file(options.fix.issue, error)) {
    std::ifstream in(options.fix.issue, std::ios::binary);
    options.request.assign(std::istreambuf_iterator<char>(in), {});
    if (!in) return complain(options.fix.issue + ": cannot be read");
  }
  options.workflow = runtime::kFixWorkflow;
  if (options.out.empty()) options.out = kDefaultOut;
  if (lies_in(options.out, options.project.folder)) {
    return complain("nothing is written into the project: choose an --out outside of it");
  }
  return run(environment, options);
}

}  // namespace ponder::cli
