#include "engine/detail/new_files.h"

#include <fmt/format.h>

#include <ranges>
#include <system_error>
#include <utility>

namespace ponder::engine::detail {
namespace {

namespace fs = std::filesystem;

/// A link that leads nowhere is there, too: writing would make the file that it names.
bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(fs::symlink_status(path, ignored));
}

}  // namespace

Result<NewFiles> NewFiles::in(const fs::path& dir) {
  NewFiles files(dir);
  PONDER_CHECK(files.make_folders());
  return files;
}

NewFiles::NewFiles(NewFiles&& other) noexcept
    : dir_(std::move(other.dir_)), made_(std::exchange(other.made_, {})) {}

NewFiles::~NewFiles() {
  std::error_code ignored;  // a folder that is not empty stays
  for (const fs::path& path : std::views::reverse(made_)) fs::remove(path, ignored);
}

Status NewFiles::make_folders() {
  std::error_code failure;
  std::vector<fs::path> missing;
  fs::path path = fs::absolute(dir_, failure).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();
  for (; !failure && !is_there(path) && path.has_relative_path(); path = path.parent_path()) {
    missing.push_back(path);
  }
  for (const fs::path& folder : std::views::reverse(missing)) {
    if (failure) break;
    if (fs::create_directory(folder, failure)) made_.push_back(folder);
  }
  // For what is there and no folder, and for links.
  if (!failure) fs::create_directories(dir_, failure);
  if (!failure) return {};
  return fail(Errc::unavailable,
              fmt::format("{}: cannot create: {}", dir_.string(), failure.message()));
}

Status NewFiles::check_free(std::span<const std::string> names) const {
  for (const std::string& name : names) {
    if (!is_there(dir_ / name)) continue;
    return fail(
        Errc::invalid_argument,
        fmt::format("{}: already holds {}; choose an empty directory", dir_.string(), name));
  }
  return {};
}

Result<fs::path> NewFiles::begin(const std::string& name) {
  PONDER_CHECK(check_free({&name, 1}));
  return made_.emplace_back(dir_ / name);
}

void NewFiles::keep() { made_.clear(); }

}  // namespace ponder::engine::detail
