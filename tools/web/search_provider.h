#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace ponder::tools {

/// What is searched for.
struct SearchQuery {
  SearchQuery(std::string text, std::uint32_t hits_max, Deadline deadline)
      : text(std::move(text)), hits_max(hits_max), deadline(deadline) {}
  std::string text;
  std::uint32_t hits_max;
  std::string newer_than;  // "day", "week", "month", "year"; empty: any age
  Deadline deadline;
};

/// One thing found. Texts are as the provider gave them, foreign and of any length.
struct SearchHit {
  std::string title;
  std::string address;  // http or https; of the local index "local:" and a path
  std::string snippet;
  std::string date;  // empty where it is not known
};

/// Whoever searches: the seam between the tool `web_search` and the services it can use.
///
/// Thread: search() runs on the caller's executor; several may run at once.
class SearchProvider {
 public:
  virtual ~SearchProvider() = default;
  virtual const std::string& name() const = 0;
  /// Hits, best first, at most `hits_max`; none is no error. Errors, with the provider's name and
  /// never its key: `exhausted` when it wants fewer requests or more money, `invalid_argument` when
  /// it refuses the key or the query, `unavailable` when it is away or answers what nobody
  /// understands, `deadline`, `cancelled`.
  virtual boost::asio::awaitable<Result<std::vector<SearchHit>>> search(SearchQuery query) = 0;
};

/// Which provider to use, and how.
struct SearchOptions {
  /// "searxng", "brave", "tavily", "duckduckgo" or "local".
  std::string provider;
  /// Where it is; empty: its public address. SearXNG has none: the address of an instance whose
  /// settings allow the format json.
  std::string address;
  /// Brave's and Tavily's; goes to that address and nowhere else, neither into results nor logs.
  std::string api_key;
  /// For "local": what `ponder index` wrote, or the folder that it wrote it for.
  std::filesystem::path index;
  /// More certificates to trust than the system's.
  std::filesystem::path ca_file;
};

/// `invalid_argument` names what is wrong with the options; for "local" it fails as
/// LocalIndex::open does. `pool` runs what blocks, and outlives the provider's searches.
Result<std::unique_ptr<SearchProvider>> make_search_provider(const SearchOptions& options,
                                                             boost::asio::any_io_executor pool);

}  // namespace ponder::tools
