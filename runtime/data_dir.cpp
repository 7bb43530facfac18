#include "runtime/data_dir.h"

#include <fmt/format.h>

#include <system_error>

namespace ponder::runtime {
namespace {

namespace fs = std::filesystem;

bool is_folder(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

/// The program's own place first, then the folders above it: an installed program has its data
/// beside it, one run from a build folder has it in the source tree.
std::vector<fs::path> places(const fs::path& executable, const fs::path& installed,
                             const fs::path& in_source_tree) {
  std::vector<fs::path> out;
  if (executable.empty()) return out;
  const fs::path bin = executable.parent_path();
  out.push_back((bin / ".." / "share" / "ponder" / installed).lexically_normal());
  fs::path folder = bin;
  for (int level = 0; level < 4 && folder.has_relative_path(); ++level) {
    out.push_back(folder / in_source_tree);
    folder = folder.parent_path();
  }
  return out;
}

Result<fs::path> find(const DataDirHints& hints, const std::string& what, const fs::path& installed,
                      const fs::path& in_source_tree) {
  for (const fs::path& given : {hints.option, hints.environment}) {
    if (given.empty()) continue;
    if (is_folder(given)) return given;
    return fail(Errc::not_found, fmt::format("{}: there is no such folder", given.string()));
  }
  std::string looked_at;
  for (const fs::path& place : places(hints.executable, installed, in_source_tree)) {
    if (is_folder(place)) return place;
    looked_at += (looked_at.empty() ? "" : ", ") + place.string();
  }
  return fail(Errc::not_found, fmt::format("{} not found; looked at: {}", what, looked_at));
}

}  // namespace

Result<fs::path> find_library(const DataDirHints& hints) {
  return find(hints, "the tool library", "library", fs::path("tools") / "library");
}

Result<fs::path> find_model(const DataDirHints& hints, const std::string& name) {
  return find(hints, "the shipped model", fs::path("models") / name,
              fs::path("engine") / "models" / name);
}

}  // namespace ponder::runtime
