#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "tools/detail/unique_fd.h"

namespace ponder::tools {

/// One entry of a folder.
struct FileEntry {
  enum class Kind { file, folder, link, other };
  std::string name;
  Kind kind = Kind::other;
  std::uint64_t bytes = 0;         // of a file
  std::int64_t modified_ns = 0;    // since the Unix epoch
};

/// A folder that paths cannot lead out of.
///
/// Every path is relative to it and resolved by the kernel (openat2 with RESOLVE_BENEATH), so that
/// neither `..`, an absolute path, a symbolic link, nor a link that is put in place while we look
/// names anything outside. Links that stay inside are followed. Special files (pipes, devices,
/// sockets) are refused: reading one could wait for ever. Nothing is written or removed in a folder
/// `.git`, or in its place, under whatever name, nor in a folder that is itself a repository, and
/// none is made: git runs programs that its files name.
///
/// Thread: any number; calls do not share state. Errors: `not_found`; `invalid_argument` for a path
/// that leads out or a file that is no such thing; `exhausted` when a file is too long;
/// `unavailable` for what the system refuses. Every message begins with the path as it was given.
class RootedFolder {
 public:
  static Result<RootedFolder> open(const std::filesystem::path& folder);

  const std::filesystem::path& path() const { return path_; }

  /// The whole file, byte for byte.
  Result<std::string> read(const std::string& file, std::uint64_t bytes_max) const;
  /// Puts `content` in the file's place, whole or not at all; its mode stays, and folders on the
  /// way are made. A link is replaced, not followed.
  Status write(const std::string& file, std::string_view content) const;
  /// Removes a file or a link.
  Status remove(const std::string& file) const;
  bool exists(const std::string& file) const;
  /// What a folder holds, by name; "." for the root. `exhausted` over `entries_max`.
  Result<std::vector<FileEntry>> list(const std::string& folder, std::size_t entries_max) const;

 private:
  RootedFolder(std::filesystem::path path, UniqueFd fd)
      : path_(std::move(path)), fd_(std::move(fd)) {}
  Result<UniqueFd> open_beneath(const std::string& path, std::uint64_t flags) const;
  /// The folder that holds `file`, made where it is not there.
  Result<UniqueFd> open_parent(const std::string& file, bool makes_folders) const;

  std::filesystem::path path_;
  UniqueFd fd_;
};

}  // namespace ponder::tools
