#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/sqlite/connection.h"
#include "tools/web/search_provider.h"

namespace ponder::tools {

/// A search index over the documents of a folder: one SQLite file with their texts and an FTS5
/// index of the words, ranked by BM25 (a word in a title counts five times).
///
/// Words are runs of letters and digits of any script, without case and accents (FTS5's unicode61).
/// Documents are read from the index, never from the folder, so what is read is what was found.
/// Thread: none. Lifetime: none beyond its file's.
class LocalIndex {
 public:
  /// The file, or a folder's own one (index_file_of). `not_found` when there is none, `corrupt`
  /// when it is no index, `unavailable` when a later version wrote it.
  static Result<LocalIndex> open(const std::filesystem::path& file_or_folder);

  /// Documents with all words of `text` first, then those with some of them, each by rank. Words in
  /// quotation marks stand next to each other. `oldest_ns`: none that was changed before, in
  /// nanoseconds since the Unix epoch.
  Result<std::vector<SearchHit>> search(std::string_view text, std::uint32_t hits_max,
                                        std::int64_t oldest_ns);

  /// Asked now and then by a search, which ends as `cancelled` when it says false.
  void watch(std::function<bool()> keep_going);

  struct Document {
    std::string title;
    std::string text;
    std::string sha256;  // of the file
    std::int64_t modified_ns = 0;
  };
  /// A document by its path below the folder; nothing when the index does not hold it.
  Result<std::optional<Document>> document(std::string_view path);

 private:
  explicit LocalIndex(sqlite::Connection db) : db_(std::move(db)) {}
  Status collect(const std::string& match, std::uint32_t hits_max, std::int64_t oldest_ns,
                 std::vector<SearchHit>& hits);
  sqlite::Connection db_;
};

/// How the address of a document in an index begins.
inline constexpr std::string_view kLocalScheme = "local:";

/// Where the index of a folder is kept unless somebody says otherwise.
std::filesystem::path index_file_of(const std::filesystem::path& folder);

/// What a run of update_index did.
struct IndexReport {
  std::uint64_t added = 0;
  std::uint64_t changed = 0;
  std::uint64_t unchanged = 0;
  std::uint64_t removed = 0;
  std::uint64_t text_bytes = 0;       // of what was added or changed
  std::vector<std::string> problems;  // files that could not be read, with the reason; some of them
  std::uint64_t num_problems = 0;
  bool is_complete = true;  // the walk saw the whole folder; else nothing was removed
};

struct IndexOptions {
  std::uint64_t file_bytes_max = 5 << 20;  // longer text and HTML files are left out
  std::uint64_t pdf_bytes_max = 50 << 20;
  std::function<void(const IndexReport&)> progress;  // now and then; may be empty
  std::function<bool()> keep_going;                  // false ends after what is under way
};

/// Brings the index in `file`, made where there is none, up to date with the folder: text,
/// Markdown, tables and data as text, HTML and, where pdftotext is installed, PDF files that git
/// would not ignore, told by the endings of their names (docs/web.md).
///
/// A file whose size and time of change are as before is not read again; one whose content is as
/// before is not indexed again; one that is gone leaves. Progress is kept when it is interrupted.
/// Blocks. Errors: as RootedFolder::open and sqlite::Connection::open; `cancelled`.
Result<IndexReport> update_index(const std::filesystem::path& folder,
                                 const std::filesystem::path& file, const IndexOptions& options);

/// The provider "local". `pool` runs the searches.
Result<std::unique_ptr<SearchProvider>> make_local_provider(const std::filesystem::path& index,
                                                            boost::asio::any_io_executor pool);

}  // namespace ponder::tools
