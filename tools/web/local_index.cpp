#include "tools/web/local_index.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <ctime>
#include <set>
#include <utility>

#include "tools/detail/stoppable.h"
#include "tools/web/detail/index_schema.h"

namespace ponder::tools {

namespace asio = boost::asio;
namespace fs = std::filesystem;

namespace {

constexpr std::size_t kWordsMax = 32;
constexpr std::int64_t kDayNs = 86'400'000'000'000;

std::string day_of(std::int64_t unix_ns) {
  const std::time_t seconds = unix_ns / 1'000'000'000;
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char text[16];
  return std::string(text, std::strftime(text, sizeof text, "%Y-%m-%d", &parts));
}

/// The query's words and phrases, each quoted as FTS5 wants it: nothing in a query is an operator.
std::vector<std::string> terms_of(std::string_view text) {
  std::vector<std::string> terms;
  std::string term;
  bool is_phrase = false;
  const auto end_term = [&] {
    // FTS5 refuses a term without any word in it; a byte beyond ASCII is at least part of one.
    const bool has_word = std::any_of(term.begin(), term.end(), [](unsigned char c) {
      return c >= 0x80 || std::isalnum(c) != 0;
    });
    if (has_word && terms.size() < kWordsMax) terms.push_back('"' + term + '"');
    term.clear();
  };
  for (const char c : text) {
    if (c == '"') {
      end_term();
      is_phrase = !is_phrase;
    } else if (!is_phrase && std::isspace(static_cast<unsigned char>(c)) != 0) {
      end_term();
    } else if (c != '\0') {
      term += c;
    }
  }
  end_term();
  return terms;
}

/// Nanoseconds since the Unix epoch before which a document is too old; 0: none is.
std::int64_t oldest_of(const std::string& newer_than, std::int64_t now_ns) {
  if (newer_than == "day") return now_ns - kDayNs;
  if (newer_than == "week") return now_ns - 7 * kDayNs;
  if (newer_than == "month") return now_ns - 31 * kDayNs;
  if (newer_than == "year") return now_ns - 366 * kDayNs;
  return 0;
}

class LocalProvider final : public SearchProvider {
 public:
  LocalProvider(fs::path file, asio::any_io_executor pool)
      : file_(std::move(file)), pool_(std::move(pool)) {}

  const std::string& name() const override { return name_; }

  asio::awaitable<Result<std::vector<SearchHit>>> search(SearchQuery query) override {
    auto work = [this, query = std::move(query)](const std::atomic<bool>& stop) {
      return search_now(query, stop);
    };
    auto hits = co_await offload_stoppable(pool_, std::move(work));
    co_return hits;
  }

 private:
  /// Opened anew each time: another program may replace the file, and opening costs little.
  Result<std::vector<SearchHit>> search_now(const SearchQuery& query,
                                            const std::atomic<bool>& stop) const {
    auto index = LocalIndex::open(file_);
    if (!index) return fail_in(name_, index.error());
    index->watch([&] { return !stop && !query.deadline.passed(system_clock()); });
    const std::int64_t now_ns = system_clock().unix_ms() * 1'000'000;
    auto hits = index->search(query.text, query.hits_max, oldest_of(query.newer_than, now_ns));
    if (hits || hits.error().code != Errc::cancelled || stop) return hits;
    return fail(Errc::deadline, "the deadline passed");
  }

  std::string name_ = "local";
  fs::path file_;
  asio::any_io_executor pool_;
};

}  // namespace

fs::path index_file_of(const fs::path& folder) { return folder / ".ponder-index.db"; }

Result<LocalIndex> LocalIndex::open(const fs::path& file_or_folder) {
  std::error_code ignored;
  const bool is_folder = fs::is_directory(file_or_folder, ignored);
  const fs::path file = is_folder ? index_file_of(file_or_folder) : file_or_folder;
  auto db = sqlite::Connection::open_read_only(file.string());
  if (!db && db.error().code == Errc::not_found) {
    const std::string advice =
        is_folder ? fmt::format("`ponder index {}` makes one", file_or_folder.string())
                  : "`ponder index FOLDER` makes one";
    return fail(Errc::not_found,
                fmt::format("{}: there is no index; {}", file_or_folder.string(), advice));
  }
  if (!db) return tl::unexpected<Error>(db.error());
  PONDER_TRY(const int version, db->user_version());
  if (version == 0) {
    return fail(Errc::corrupt, fmt::format("{}: is no index of documents", file.string()));
  }
  if (version > kIndexSchema.back().version) {
    return fail(Errc::unavailable, fmt::format("{}: a later version wrote it", file.string()));
  }
  return LocalIndex(std::move(*db));
}

void LocalIndex::watch(std::function<bool()> keep_going) {
  constexpr int kWatchInterval = 1000;  // steps of SQLite's machine
  db_.watch(kWatchInterval, std::move(keep_going));
}

Status LocalIndex::collect(const std::string& match, std::uint32_t hits_max, std::int64_t oldest_ns,
                           std::vector<SearchHit>& hits) {
  // The words alone are ranked first; titles and snippets are made only for the best of them.
  PONDER_TRY(sqlite::Statement statement, db_.prepare(R"sql(
SELECT d.path, d.title, snippet(words, 1, '', '', ' … ', 40), d.modified_ns
FROM words JOIN documents d ON d.id = words.rowid
WHERE words MATCH ? AND rank MATCH 'bm25(5.0, 1.0)' AND d.modified_ns >= ?
ORDER BY rank LIMIT ?)sql"));
  PONDER_TRY(sqlite::Rows rows, statement.query(match, oldest_ns, hits_max));
  std::set<std::string> known;
  for (const SearchHit& hit : hits) known.insert(hit.address);
  while (hits.size() < hits_max) {
    PONDER_TRY(const bool has_row, rows.next());
    if (!has_row) break;
    std::string address = std::string(kLocalScheme) + std::string(rows.text(0));
    if (known.contains(address)) continue;
    hits.push_back({std::string(rows.text(1)), std::move(address), std::string(rows.text(2)),
                    day_of(rows.int64(3))});
  }
  return {};
}

Result<std::vector<SearchHit>> LocalIndex::search(std::string_view text, std::uint32_t hits_max,
                                                  std::int64_t oldest_ns) {
  const std::vector<std::string> terms = terms_of(text);
  std::vector<SearchHit> hits;
  if (terms.empty()) return hits;
  PONDER_CHECK(collect(fmt::format("{}", fmt::join(terms, " AND ")), hits_max, oldest_ns, hits));
  if (hits.size() == hits_max || terms.size() == 1) return hits;
  PONDER_CHECK(collect(fmt::format("{}", fmt::join(terms, " OR ")), hits_max, oldest_ns, hits));
  return hits;
}

Result<std::optional<LocalIndex::Document>> LocalIndex::document(std::string_view path) {
  PONDER_TRY(sqlite::Statement statement,
             db_.prepare("SELECT title, body, sha256, modified_ns FROM documents WHERE path = ?"));
  PONDER_TRY(sqlite::Rows rows, statement.query(path));
  PONDER_TRY(const bool has_row, rows.next());
  if (!has_row) return std::nullopt;
  Document document;
  document.title = rows.text(0);
  document.text = rows.text(1);
  document.sha256 = rows.text(2);
  document.modified_ns = rows.int64(3);
  return document;
}

Result<std::unique_ptr<SearchProvider>> make_local_provider(const fs::path& index,
                                                            asio::any_io_executor pool) {
  PONDER_TRY(const LocalIndex opened, LocalIndex::open(index));
  (void)opened;
  return std::make_unique<LocalProvider>(index, std::move(pool));
}

}  // namespace ponder::tools
