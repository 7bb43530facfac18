#include "tools/fix/project_copy.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "tools/files/file_tree.h"
#include "tools/files/rooted_folder.h"

namespace ponder::tools {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t kFilesMax = 100'000;
constexpr std::size_t kListBytesMax = 32 << 20;
constexpr std::size_t kPatchBytesMax = 16 << 20;

/// Nothing that a configuration names is run.
const std::vector<std::string> kGit = {"git",
                                       "-c",
                                       "core.fsmonitor=false",
                                       "-c",
                                       "core.hooksPath=/dev/null",
                                       "-c",
                                       "safe.directory=*"};

std::vector<std::string> git(std::vector<std::string> words) {
  std::vector<std::string> argv = kGit;
  argv.insert(argv.end(), std::make_move_iterator(words.begin()),
              std::make_move_iterator(words.end()));
  return argv;
}

std::string last_words(const ProcessResult& result) {
  std::string text = result.standard_error.text;
  while (text.ends_with('\n')) text.pop_back();
  return text.empty() ? fmt::format("exit code {}", result.exit_code) : text;
}

std::vector<std::string> split_at_zeros(const std::string& text) {
  std::vector<std::string> out;
  for (std::size_t at = 0; at < text.size();) {
    const auto end = std::min(text.find('\0', at), text.size());
    out.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return out;
}

/// What git tracks or does not ignore; none where git has nothing to say, as when `from` is no
/// repository or its history lies elsewhere.
Result<std::optional<std::vector<std::string>>> files_of_repository(const SandboxedRun& how,
                                                                    const fs::path& from,
                                                                    const fs::path& scratch) {
  std::error_code error;
  if (!fs::exists(from / ".git", error)) return std::nullopt;
  SandboxedRun reading = how;
  reading.readable.push_back(from);
  ProcessRequest request(git({"-C", from.string(), "ls-files", "-z", "--cached", "--others",
                              "--exclude-standard", "--deduplicate"}));
  request.output_bytes_max = kListBytesMax;
  PONDER_TRY(const ProcessResult listed, run_in(reading, scratch, std::move(request)));
  if (listed.exit_code != 0) return std::nullopt;
  if (listed.standard_output.bytes_dropped > 0) {
    return fail(Errc::exhausted, fmt::format("{}: too many files", from.string()));
  }
  return split_at_zeros(listed.standard_output.text);
}

Result<std::vector<std::string>> files_of_folder(const fs::path& from) {
  PONDER_TRY(const RootedFolder root, RootedFolder::open(from));
  std::vector<std::string> files;
  WalkLimits limits;
  limits.entries_max = kFilesMax;
  const auto take = [&files](const std::string& path, const FileEntry& entry) {
    if (entry.kind == FileEntry::Kind::file || entry.kind == FileEntry::Kind::link) {
      files.push_back(path);
    }
    return true;
  };
  PONDER_TRY(const bool was_all, walk_tree(root, "", limits, take));
  if (!was_all) {
    return fail(Errc::exhausted, fmt::format("{}: over {} files", from.string(), kFilesMax));
  }
  return files;
}

bool names_git(const fs::path& path) {
  for (const auto& part : path) {
    if (part == ".git") return true;
  }
  return false;
}

/// The names are of a foreign index.
bool is_name_inside(const fs::path& path) {
  return !path.empty() && path.is_relative() &&
         std::find(path.begin(), path.end(), "..") == path.end();
}

/// Whether a link with this target in `folder` stays in the project `root`, whatever links its
/// target goes through. Both are canonical.
bool stays_inside(const fs::path& root, const fs::path& folder, const fs::path& target) {
  std::error_code error;
  const fs::path end = fs::weakly_canonical(folder / target, error);
  const auto rest = std::mismatch(root.begin(), root.end(), end.begin(), end.end());
  return !error && target.is_relative() && rest.first == root.end();
}

/// `from` is canonical.
Status copy_file(const fs::path& from, const fs::path& to, const fs::path& path) {
  std::error_code error;
  const fs::file_status status = fs::symlink_status(from / path, error);
  if (error) return {};  // tracked, and deleted in the work tree
  const fs::path folder = fs::canonical((from / path).parent_path(), error);
  // A folder that a link has replaced: git does not see the file below it either.
  if (!error && folder != (from / path).lexically_normal().parent_path()) return {};
  if (!error) fs::create_directories((to / path).parent_path(), error);
  if (!error && fs::is_symlink(status)) {
    const fs::path target = fs::read_symlink(from / path, error);
    if (!error && stays_inside(from, folder, target)) fs::create_symlink(target, to / path, error);
  } else if (!error && fs::is_regular_file(status)) {
    fs::copy_file(from / path, to / path, error);
  }
  if (error) return fail(Errc::unavailable, fmt::format("{}: {}", path.string(), error.message()));
  return {};
}

}  // namespace

Status copy_project(const SandboxedRun& how, const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::create_directories(to, error);
  if (error) return fail(Errc::unavailable, fmt::format("{}: {}", to.string(), error.message()));
  const fs::path root = fs::canonical(from, error);  // as the sandbox wants it, for one
  if (error) return fail(Errc::not_found, fmt::format("{}: {}", from.string(), error.message()));
  PONDER_TRY(auto files, files_of_repository(how, root, to));
  if (!files) {
    PONDER_TRY(files, files_of_folder(root));
  }
  if (files->size() > kFilesMax) {
    return fail(Errc::exhausted, fmt::format("{}: over {} files", from.string(), kFilesMax));
  }
  for (const fs::path path : *files) {
    if (names_git(path)) continue;
    if (!is_name_inside(path)) {
      return fail(Errc::invalid_argument,
                  fmt::format("{}: is no name in a project", path.string()));
    }
    PONDER_CHECK(copy_file(root, to, path));
  }
  return {};
}

Status copy_tree(const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::remove_all(to, error);
  if (!error) {
    fs::copy(from, to, fs::copy_options::recursive | fs::copy_options::copy_symlinks, error);
  }
  if (error) return fail(Errc::unavailable, fmt::format("{}: {}", to.string(), error.message()));
  return {};
}

Status begin_history(const SandboxedRun& how, const fs::path& folder) {
  constexpr const char* kScript =
      "git init -q . && git add -A -f && git -c user.name=ponder -c user.email=ponder@localhost "
      "-c commit.gpgsign=false commit -q --allow-empty -m 'as it was given'";
  ProcessRequest request({"/bin/sh", "-c", kScript});
  request.environment = {{"GIT_CONFIG_GLOBAL", "/dev/null"}, {"GIT_CONFIG_NOSYSTEM", "1"}};
  PONDER_TRY(const ProcessResult result, run_in(how, folder, std::move(request)));
  if (result.exit_code != 0) {
    return fail(Errc::unavailable, "git could not begin a history: " + last_words(result));
  }
  return {};
}

Result<std::string> diff_trees(const SandboxedRun& how, const fs::path& parent) {
  ProcessRequest request(git({"diff", "--no-index", "--no-ext-diff", "--no-textconv", "--no-color",
                              "--no-prefix", "--no-renames", "--binary", "a", "b"}));
  request.output_bytes_max = kPatchBytesMax;
  PONDER_TRY(const ProcessResult result, run_in(how, parent, std::move(request)));
  if (result.exit_code > 1) return fail(Errc::internal, "git diff: " + last_words(result));
  if (result.standard_output.bytes_dropped > 0) {
    return fail(Errc::exhausted, "the patch is too long");
  }
  return result.standard_output.text;
}

Status check_patch(const SandboxedRun& how, const fs::path& folder, const std::string& patch) {
  ProcessRequest request(git({"apply", "--check", "-"}));
  request.input = patch;
  PONDER_TRY(const ProcessResult result, run_in(how, folder, std::move(request)));
  if (result.exit_code != 0) {
    return fail(Errc::invalid_argument, "git apply: " + last_words(result));
  }
  return {};
}

}  // namespace ponder::tools
