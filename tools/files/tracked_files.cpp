#include "tools/files/tracked_files.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace ponder::tools {
namespace {

// gitformat-index(5). Numbers are big-endian; an entry is
//   ctime 8, mtime 8, dev 4, inode 4, mode 4, uid 4, gid 4, size 4, object name, flags 2, [flags 2]
// and the path: up to version 3 whole, with one to eight zero bytes behind it so that the entry's
// length is a multiple of eight; in version 4 as the number of bytes that are taken off the last
// path's end, and what is put there, with a zero byte behind it.
constexpr std::size_t kHeaderBytes = 12;
constexpr std::size_t kModeAt = 24;
constexpr std::size_t kObjectAt = 40;
constexpr std::size_t kSha1Bytes = 20;
constexpr std::size_t kSha256Bytes = 32;
constexpr unsigned kHasMoreFlags = 0x4000;
constexpr unsigned kPathLengthMask = 0x0fff;  // which stands for all longer paths too
constexpr std::size_t kPathBytesMax = 4096;
constexpr std::size_t kAllPathsBytesMax = 64 << 20;

std::uint32_t number_at(std::string_view bytes, std::size_t at, std::size_t num_bytes) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < num_bytes; ++i) {
    value = value << 8 | static_cast<unsigned char>(bytes[at + i]);
  }
  return value;
}

/// A file, a link, a submodule, or the folder of a sparse index.
bool is_mode(std::uint32_t mode) {
  return mode == 0100644 || mode == 0100755 || mode == 0120000 || mode == 0160000 ||
         mode == 0040000;
}

tl::unexpected<Error> damaged() { return fail(Errc::corrupt, "is no index of git"); }

/// The entries of an index, one after the other.
class Reader {
 public:
  Reader(std::string_view bytes, std::size_t object_bytes, std::uint32_t version)
      : rest_(bytes), object_bytes_(object_bytes), version_(version) {
    rest_.remove_prefix(kHeaderBytes);
  }

  Result<std::vector<std::string>> paths(std::uint32_t count) {
    std::vector<std::string> out;
    std::size_t bytes = 0;
    for (std::uint32_t i = 0; i < count; ++i) {
      PONDER_CHECK(next());
      bytes += path_.size();
      if (bytes > kAllPathsBytesMax) return fail(Errc::exhausted, "git's index is too long");
      out.push_back(path_);
    }
    return out;
  }

 private:
  Status next() {
    const std::size_t flags_at = kObjectAt + object_bytes_;
    std::size_t path_at = flags_at + 2;
    if (rest_.size() < path_at || !is_mode(number_at(rest_, kModeAt, 4))) return damaged();
    const std::uint32_t flags = number_at(rest_, flags_at, 2);
    if ((flags & kHasMoreFlags) != 0) path_at += 2;
    if (rest_.size() < path_at || ((flags & kHasMoreFlags) != 0 && version_ < 3)) return damaged();
    PONDER_CHECK(version_ == 4 ? take_changed_path(path_at) : take_whole_path(path_at));
    const std::size_t length = flags & kPathLengthMask;
    const bool is_told =
        length < kPathLengthMask ? path_.size() == length : path_.size() >= kPathLengthMask;
    if (!is_told || path_.empty() || path_.size() > kPathBytesMax) return damaged();
    return {};
  }

  Status take_whole_path(std::size_t at) {
    const std::size_t end = rest_.find('\0', at);
    if (end == std::string_view::npos) return damaged();
    path_ = rest_.substr(at, end - at);
    const std::size_t entry_bytes = (end + 8) & ~std::size_t{7};
    if (rest_.size() < entry_bytes) return damaged();
    rest_.remove_prefix(entry_bytes);
    return {};
  }

  /// The number is written in sevens of bits, the first ones first; each further byte adds one, so
  /// that every number is written in one way.
  Status take_changed_path(std::size_t at) {
    std::size_t taken_off = 0;
    for (bool is_first = true, has_more = true; has_more; is_first = false) {
      if (at == rest_.size()) return damaged();
      const auto byte = static_cast<unsigned char>(rest_[at++]);
      if (!is_first) ++taken_off;
      taken_off = taken_off << 7 | (byte & 0x7fU);
      has_more = (byte & 0x80U) != 0;
      if (taken_off > kPathBytesMax) return damaged();
    }
    const std::size_t end = rest_.find('\0', at);
    if (end == std::string_view::npos || taken_off > path_.size()) return damaged();
    if (end - at > kPathBytesMax) return damaged();
    path_.resize(path_.size() - taken_off);
    path_ += rest_.substr(at, end - at);
    rest_.remove_prefix(end + 1);
    return {};
  }

  std::string_view rest_;
  std::string path_;  // the last one
  std::size_t object_bytes_;
  std::uint32_t version_;
};

}  // namespace

TrackedFiles::TrackedFiles(std::vector<std::string> paths) : paths_(std::move(paths)) {
  // Git's own are; a stranger's need not be.
  if (!std::is_sorted(paths_.begin(), paths_.end())) std::sort(paths_.begin(), paths_.end());
}

Result<TrackedFiles> TrackedFiles::parse(std::string_view index) {
  if (index.size() < kHeaderBytes || !index.starts_with("DIRC")) return damaged();
  const std::uint32_t version = number_at(index, 4, 4);
  const std::uint32_t count = number_at(index, 8, 4);
  if (version < 2 || version > 4) return damaged();
  // The index does not say which kind of object names it has. Modes and lengths stand where they
  // should in one way of reading alone.
  auto paths = Reader(index, kSha1Bytes, version).paths(count);
  if (!paths && paths.error().code == Errc::corrupt) {
    paths = Reader(index, kSha256Bytes, version).paths(count);
  }
  if (!paths) return tl::unexpected<Error>(paths.error());
  return TrackedFiles(std::move(*paths));
}

bool TrackedFiles::contains(std::string_view path) const {
  return std::binary_search(paths_.begin(), paths_.end(), path);
}

bool TrackedFiles::contains_below(std::string_view folder) const {
  const std::string prefix = std::string(folder) + "/";
  const auto found = std::lower_bound(paths_.begin(), paths_.end(), prefix);
  return found != paths_.end() && found->starts_with(prefix);
}

}  // namespace ponder::tools
