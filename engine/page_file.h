#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>

#include "engine/detail/sha256.h"
#include "engine/tokenizer.h"

/// One cache page in a file: a header that says what it is, the page, a checksum of both.
namespace ponder::engine {

/// What the file of a page begins with: the form of such files, the identity of the cache, the
/// page's name and tokens. Equal for equal pages.
std::string page_file_header(const detail::Digest& identity, const detail::Digest& name,
                             std::span<const TokenId> tokens, std::size_t page_bytes);

std::uint64_t page_file_bytes(const std::string& header, std::size_t page_bytes);

/// Writes the file under `temporary`, readable by its owner only, and gives it its name when it is
/// whole; so a crash leaves no half of one under `path`. False when the disk refuses, or when there
/// is a file `temporary`.
[[nodiscard]] bool write_page_file(const std::filesystem::path& path,
                                   const std::filesystem::path& temporary,
                                   const std::string& header, std::span<const std::byte> page);

struct FoundPageFile {
  std::filesystem::file_time_type used_at;
  std::uint64_t num_bytes = 0;
};
/// nullopt for what is no regular file, and for one that is gone by now: another process that
/// shares the folder may have removed it.
std::optional<FoundPageFile> find_page_file(const std::filesystem::directory_entry& entry);

/// Removes a temporary file unless somebody is writing it now: writers hold a lock on theirs, which
/// ends with them.
void remove_abandoned_file(const std::filesystem::path& temporary);

/// Reads the page, and marks the file as used now. False when it is not whole, is damaged, or has
/// another header; then what is in `page` is worth nothing.
[[nodiscard]] bool read_page_file(const std::filesystem::path& path, const std::string& header,
                                  std::span<std::byte> page);

}  // namespace ponder::engine
