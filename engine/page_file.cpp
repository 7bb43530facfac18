#include "engine/page_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <system_error>

namespace ponder::engine {
namespace {

namespace fs = std::filesystem;
using detail::Digest;

/// Raised whenever the file's form changes.
constexpr std::string_view kMagic = "ponder cache page 1\n";

std::string_view text_of(const Digest& digest) {
  return {reinterpret_cast<const char*>(digest.data()), digest.size()};
}

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

Digest checksum_of(std::string_view header, std::string_view page) {
  detail::Sha256 sha;
  sha.add(header);
  sha.add(page);
  return sha.finish();
}

bool write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno != EINTR) return false;
    bytes.remove_prefix(n < 0 ? 0 : static_cast<std::size_t>(n));
  }
  return true;
}

}  // namespace

std::string page_file_header(const Digest& identity, const Digest& name,
                             std::span<const TokenId> tokens, std::size_t page_bytes) {
  std::string header(kMagic);
  header.append(text_of(identity)).append(text_of(name));
  header.append(fmt::format("{:16}", page_bytes));
  header.append(text_of(std::as_bytes(tokens)));
  return header;
}

std::uint64_t page_file_bytes(const std::string& header, std::size_t page_bytes) {
  return header.size() + page_bytes + Digest().size();
}

bool write_page_file(const fs::path& path, const fs::path& temporary, const std::string& header,
                     std::span<const std::byte> page) {
  const Digest checksum = checksum_of(header, text_of(page));
  const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return false;
  std::error_code error;
  bool is_right = ::flock(fd, LOCK_EX | LOCK_NB) == 0 && write_all(fd, header) &&
                  write_all(fd, text_of(page)) && write_all(fd, text_of(checksum));
  if (is_right) fs::rename(temporary, path, error);
  is_right = is_right && !error;
  if (!is_right) fs::remove(temporary, error);
  ::close(fd);  // the lock has covered the name
  return is_right;
}

std::optional<FoundPageFile> find_page_file(const fs::directory_entry& entry) {
  std::error_code gone;
  if (!entry.is_regular_file(gone)) return std::nullopt;
  FoundPageFile file{entry.last_write_time(gone)};
  if (gone) return std::nullopt;
  file.num_bytes = entry.file_size(gone);
  if (gone) return std::nullopt;
  return file;
}

void remove_abandoned_file(const fs::path& temporary) {
  const int fd = ::open(temporary.c_str(), O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return;
  std::error_code ignored;
  if (::flock(fd, LOCK_EX | LOCK_NB) == 0) fs::remove(temporary, ignored);
  ::close(fd);
}

bool read_page_file(const fs::path& path, const std::string& header, std::span<std::byte> page) {
  std::ifstream file(path, std::ios::binary);
  std::string found(header.size(), '\0');
  Digest checksum{};
  file.read(found.data(), static_cast<std::streamsize>(found.size()));
  file.read(reinterpret_cast<char*>(page.data()), static_cast<std::streamsize>(page.size()));
  file.read(reinterpret_cast<char*>(checksum.data()), checksum.size());
  const bool is_whole = file && file.peek() == std::ifstream::traits_type::eof();
  if (!is_whole || found != header || checksum != checksum_of(header, text_of(page))) return false;
  std::error_code ignored;
  fs::last_write_time(path, fs::file_time_type::clock::now(), ignored);
  return true;
}

}  // namespace ponder::engine
