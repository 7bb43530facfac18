#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"

namespace ponder::engine::detail {

/// The files that one run makes in a folder: all of them stay, or none. What was there before is
/// neither written to nor removed.
///
/// Lifetime: unless keep() was called, the destructor removes the files, and the folders that in()
/// made and nobody else has put anything into.
class NewFiles {
 public:
  /// Makes the folder, with its parents, unless it is there. Fails with unavailable, naming it.
  static Result<NewFiles> in(const std::filesystem::path& dir);
  NewFiles(NewFiles&& other) noexcept;
  NewFiles& operator=(NewFiles&&) = delete;
  ~NewFiles();

  const std::filesystem::path& dir() const { return dir_; }
  /// Fails with invalid_argument at the first name that is taken: what begin() would find later.
  Status check_free(std::span<const std::string> names) const;
  /// The path of a file that is made next. Fails with invalid_argument when the name is taken.
  Result<std::filesystem::path> begin(const std::string& name);
  void keep();

 private:
  explicit NewFiles(std::filesystem::path dir) : dir_(std::move(dir)) {}
  Status make_folders();

  std::filesystem::path dir_;
  std::vector<std::filesystem::path> made_;  // folders before what is in them
};

}  // namespace ponder::engine::detail
