#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <cctype>
#include <optional>
#include <unordered_map>
#include <utility>

#include "base/digest.h"
#include "tools/files/file_tree.h"
#include "tools/web/charset.h"
#include "tools/web/detail/index_schema.h"
#include "tools/web/foreign_text.h"
#include "tools/web/local_index.h"
#include "tools/web/page_text.h"
#include "tools/web/pdf_text.h"

namespace ponder::tools {
namespace {

namespace asio = boost::asio;
namespace fs = std::filesystem;

constexpr std::size_t kProblemsKept = 20;
constexpr std::size_t kTitleBytesMax = 200;
constexpr std::uint64_t kBatchBytes = 64 << 20;  // of text; what a crash can cost
constexpr std::uint64_t kBatchFiles = 5000;
constexpr std::size_t kEntriesMax = 5'000'000;
constexpr std::chrono::seconds kPdfTime{60};
constexpr int kWordsKeptBytes = 16 << 20;  // FTS5 keeps so much before it writes a segment

enum class Kind { none, text, data, html, pdf };  // data: text that does not begin with a title

/// Of a path without "/" all of it: npos + 1 is 0.
std::string file_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

Kind kind_of(const std::string& path) {
  constexpr std::array<std::string_view, 11> kText = {
      "txt", "text", "md", "markdown", "mkd", "rst", "asciidoc", "adoc", "org", "tex", "log"};
  constexpr std::array<std::string_view, 8> kData = {"csv",  "tsv", "json", "jsonl",
                                                     "yaml", "yml", "toml", "ini"};
  const std::string name = file_name(path);
  for (const char* known : {"README", "LICENSE", "CHANGELOG", "NOTICE", "AUTHORS"}) {
    if (name == known) return Kind::text;
  }
  std::string ending = name.substr(std::min(name.rfind('.') + 1, name.size()));
  std::transform(ending.begin(), ending.end(), ending.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (std::find(kText.begin(), kText.end(), ending) != kText.end()) return Kind::text;
  if (std::find(kData.begin(), kData.end(), ending) != kData.end()) return Kind::data;
  if (ending == "html" || ending == "htm" || ending == "xhtml") return Kind::html;
  return ending == "pdf" ? Kind::pdf : Kind::none;
}

/// The first heading, else the first line, else the file's name.
std::string title_of(std::string_view text, const std::string& path) {
  std::string first;
  std::string_view rest = text.substr(0, 4096);
  while (!rest.empty()) {
    const std::size_t end = rest.find('\n');
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    const bool is_heading = line.starts_with("# ");
    if (is_heading) line.remove_prefix(2);
    const std::string title = foreign_line(line, kTitleBytesMax);
    if (is_heading && !title.empty()) return title;
    if (first.empty() && title != "---") first = title;
  }
  return first.empty() ? file_name(path) : first;
}

/// pdf_text, waited for.
Result<std::string> pdf_text_now(std::string bytes) {
  asio::io_context io;
  Result<std::string> text = fail(Errc::internal, "pdftotext was not run");
  const Deadline deadline = Deadline::after(system_clock(), kPdfTime);
  auto keep = [&text](std::exception_ptr error, Result<std::string> result) {
    if (!error) text = std::move(result);
  };
  asio::co_spawn(io, pdf_text(std::move(bytes), deadline), keep);
  io.run();
  return text;
}

struct Content {
  std::string title;
  std::string body;
};

Result<Content> read_content(std::string bytes, Kind kind, const std::string& path) {
  if (kind == Kind::html) {
    PageText page = read_html(to_utf8(bytes, "", true), std::nullopt);
    if (page.title.empty()) page.title = title_of(page.text, path);
    return Content{foreign_line(page.title, kTitleBytesMax), std::move(page.text)};
  }
  if (kind == Kind::pdf) {
    PONDER_TRY(std::string text, pdf_text_now(std::move(bytes)));
    std::string title = title_of(text, path);
    return Content{std::move(title), std::move(text)};
  }
  if (bytes.find('\0') != std::string::npos && !bytes.starts_with("\xFF\xFE") &&
      !bytes.starts_with("\xFE\xFF")) {
    return fail(Errc::invalid_argument, "is no text");
  }
  std::string text = to_utf8(bytes, "", false);
  std::string title = kind == Kind::data ? file_name(path) : title_of(text, path);
  return Content{std::move(title), std::move(text)};
}

/// One run over a folder.
class Indexer {
 public:
  Indexer(const RootedFolder& root, sqlite::Connection& db, const IndexOptions& options)
      : root_(root), db_(db), options_(options) {}

  Result<IndexReport> run() {
    PONDER_CHECK(load_known());
    PONDER_CHECK(begin_batch());
    WalkLimits limits;
    limits.entries_max = kEntriesMax;
    const auto visit = [this](const std::string& path, const FileEntry& entry) {
      if (entry.kind == FileEntry::Kind::file) status_ = take(path, entry);
      return status_.has_value();
    };
    PONDER_TRY(report_.is_complete, walk_tree(root_, "", limits, visit));
    if (!status_) {
      PONDER_CHECK(batch_->commit());  // what was done is done
      return tl::unexpected<Error>(status_.error());
    }
    if (report_.is_complete) {
      PONDER_CHECK(remove_unseen());
    }
    PONDER_CHECK(batch_->commit());
    if (options_.progress) options_.progress(report_);
    return report_;
  }

 private:
  struct Known {
    std::int64_t id = 0;
    std::int64_t modified_ns = 0;
    std::uint64_t bytes = 0;
    std::string sha256;
    bool is_seen = false;
  };

  Status load_known() {
    PONDER_TRY(sqlite::Statement statement,
               db_.prepare("SELECT path, id, modified_ns, bytes, sha256 FROM documents"));
    PONDER_TRY(sqlite::Rows rows, statement.query());
    while (true) {
      PONDER_TRY(const bool has_row, rows.next());
      if (!has_row) return {};
      Known& known = known_[std::string(rows.text(0))];
      known.id = rows.int64(1);
      known.modified_ns = rows.int64(2);
      known.bytes = static_cast<std::uint64_t>(rows.int64(3));
      known.sha256 = rows.text(4);
    }
  }

  Status take(const std::string& path, const FileEntry& entry) {
    const Kind kind = kind_of(path);
    if (kind == Kind::none) return {};
    if (options_.keep_going && !options_.keep_going()) {
      return fail(Errc::cancelled, "indexing was stopped");
    }
    const auto found = known_.find(path);
    Known* known = found == known_.end() ? nullptr : &found->second;
    if (known != nullptr && known->modified_ns == entry.modified_ns &&
        known->bytes == entry.bytes) {
      known->is_seen = true;
      ++report_.unchanged;
      return {};
    }
    const std::uint64_t bytes_max =
        kind == Kind::pdf ? options_.pdf_bytes_max : options_.file_bytes_max;
    if (entry.bytes > bytes_max) return note_problem(path, "is too long");
    if (known != nullptr) known->is_seen = true;  // also when it cannot be read just now
    auto bytes = root_.read(path, bytes_max);
    if (!bytes) return note_problem(path, bytes.error().message);
    return take_bytes(path, entry, kind, std::move(*bytes), known);
  }

  Status take_bytes(const std::string& path, const FileEntry& entry, Kind kind, std::string bytes,
                    const Known* known) {
    const std::string sha256 = sha256_hex(bytes);
    const auto size = static_cast<std::int64_t>(bytes.size());
    if (known != nullptr && known->sha256 == sha256) {
      ++report_.unchanged;
      return run("UPDATE documents SET modified_ns = ?, bytes = ? WHERE id = ?", touch_,
                 entry.modified_ns, size, known->id);
    }
    auto content = read_content(std::move(bytes), kind, path);
    if (!content) return note_problem(path, content.error().message);
    report_.text_bytes += content->body.size();
    std::int64_t id = known == nullptr ? 0 : known->id;
    if (known == nullptr) {
      ++report_.added;
      PONDER_CHECK(
          run("INSERT INTO documents (path, modified_ns, bytes, sha256, title, body) "
              "VALUES (?, ?, ?, ?, ?, ?)",
              add_, path, entry.modified_ns, size, sha256, content->title, content->body));
      id = db_.last_insert_rowid();
    } else {
      ++report_.changed;
      PONDER_CHECK(forget_words(id));
      PONDER_CHECK(
          run("UPDATE documents SET modified_ns = ?, bytes = ?, sha256 = ?, title = ?, "
              "body = ? WHERE id = ?",
              change_, entry.modified_ns, size, sha256, content->title, content->body, id));
    }
    PONDER_CHECK(run("INSERT INTO words (rowid, title, body) VALUES (?, ?, ?)", add_words_, id,
                     content->title, content->body));
    return end_file(content->body.size());
  }

  /// FTS5 must be told what it once was told; the row still has it.
  Status forget_words(std::int64_t id) {
    return run(
        "INSERT INTO words (words, rowid, title, body) "
        "SELECT 'delete', id, title, body FROM documents WHERE id = ?",
        forget_words_, id);
  }

  Status remove_unseen() {
    for (const auto& [path, known] : known_) {
      if (known.is_seen) continue;
      ++report_.removed;
      PONDER_CHECK(forget_words(known.id));
      PONDER_CHECK(run("DELETE FROM documents WHERE id = ?", remove_, known.id));
    }
    return {};
  }

  template <class... Args>
  Status run(const char* sql, std::optional<sqlite::Statement>& kept, const Args&... args) {
    if (!kept) {
      PONDER_TRY(sqlite::Statement statement, db_.prepare(sql));
      kept.emplace(std::move(statement));
    }
    return kept->run(args...);
  }

  Status begin_batch() {
    PONDER_TRY(sqlite::Transaction batch, sqlite::Transaction::begin(db_));
    batch_.emplace(std::move(batch));
    batch_bytes_ = batch_files_ = 0;
    return {};
  }
  Status end_file(std::uint64_t text_bytes) {
    batch_bytes_ += text_bytes;
    if (++batch_files_ < kBatchFiles && batch_bytes_ < kBatchBytes) return {};
    PONDER_CHECK(batch_->commit());
    batch_.reset();
    if (options_.progress) options_.progress(report_);
    return begin_batch();
  }

  Status note_problem(const std::string& path, const std::string& why) {
    ++report_.num_problems;
    const bool is_named = why.starts_with(path);
    if (report_.problems.size() < kProblemsKept) {
      report_.problems.push_back(is_named ? why : path + ": " + why);
    }
    return {};
  }

  const RootedFolder& root_;
  sqlite::Connection& db_;
  const IndexOptions& options_;
  std::unordered_map<std::string, Known> known_;
  IndexReport report_;
  Status status_;
  std::optional<sqlite::Statement> add_;
  std::optional<sqlite::Statement> change_;
  std::optional<sqlite::Statement> touch_;
  std::optional<sqlite::Statement> add_words_;
  std::optional<sqlite::Statement> forget_words_;
  std::optional<sqlite::Statement> remove_;
  std::optional<sqlite::Transaction> batch_;
  std::uint64_t batch_bytes_ = 0;
  std::uint64_t batch_files_ = 0;
};

}  // namespace

Result<IndexReport> update_index(const fs::path& folder, const fs::path& file,
                                 const IndexOptions& options) {
  PONDER_TRY(const RootedFolder root, RootedFolder::open(folder));
  sqlite::OpenOptions open_options;
  open_options.durability = sqlite::Durability::normal;  // an index can be made again
  open_options.cache_kib_max = 64 * 1024;
  PONDER_TRY(sqlite::Connection db, sqlite::Connection::open(file.string(), open_options));
  PONDER_CHECK(db.migrate(kIndexSchema));
  {
    PONDER_TRY(sqlite::Transaction setting, sqlite::Transaction::begin(db));
    PONDER_CHECK(db.exec(
        fmt::format("INSERT INTO words (words, rank) VALUES ('hashsize', {})", kWordsKeptBytes)));
    PONDER_CHECK(setting.commit());
  }
  Indexer indexer(root, db, options);
  PONDER_TRY(IndexReport report, indexer.run());
  PONDER_CHECK(db.checkpoint());
  return report;
}

}  // namespace ponder::tools
