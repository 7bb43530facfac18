#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/http/http_client.h"
#include "tools/web/page_text.h"
#include "tools/web/robots.h"
#include "tools/web/web_tools.h"

namespace ponder::tools {

/// A document that was read, as text.
struct Source {
  std::string address;  // where it was in the end
  std::string title;
  std::string date;  // as the document says
  std::string text;
  std::string sha256;        // of the bytes that came
  std::int64_t unix_ms = 0;  // when they came
  bool is_cut = false;       // there was more than is read
};
using SourcePtr = std::shared_ptr<const Source>;  // shared by the cache and calls under way

/// The sources that were read last, by address, and how long they may be taken for fresh.
/// Thread: any.
class SourceCache {
 public:
  SourceCache(std::chrono::milliseconds age_max, std::size_t bytes_max)
      : age_max_(age_max), bytes_max_(bytes_max) {}
  SourcePtr find(const std::string& key, Clock::Instant now);
  void keep(const std::string& key, SourcePtr source, Clock::Instant now);

 private:
  struct Entry {
    std::string key;
    SourcePtr source;
    Clock::Instant kept_at;
  };
  std::mutex mutex_;
  std::list<Entry> entries_;  // the last one used first
  std::size_t bytes_ = 0;
  std::chrono::milliseconds age_max_;
  std::size_t bytes_max_;
};

/// Reads documents of the web within the limits of WebOptions.
/// Thread: read() starts on the caller's executor; several may run at once.
class SourceReader {
 public:
  SourceReader(WebOptions options, std::unique_ptr<http::Client> client,
               boost::asio::any_io_executor pool);

  /// Errors: as http::Client::send; `invalid_argument` too when robots.txt forbids it, the status
  /// is no success, or the content is of a kind that has no text.
  boost::asio::awaitable<Result<SourcePtr>> read(std::string address, PagePart part,
                                                 const Clock* clock, Deadline deadline);

 private:
  struct Answer {
    http::Response head;
    std::string body;
    bool is_cut = false;
  };
  /// A site's rules, and how long they are good for.
  struct Site {
    std::shared_ptr<const RobotsRules> rules;
    Clock::Instant fresh_until;
  };
  boost::asio::awaitable<Result<Answer>> fetch(http::Url url, const Clock* clock,
                                               Deadline deadline);
  boost::asio::awaitable<Result<Answer>> fetch_one(http::Request request);
  boost::asio::awaitable<Status> check_robots(http::Url url, const Clock* clock, Deadline deadline);
  boost::asio::awaitable<Result<Site>> fetch_robots(http::Url url, const Clock* clock,
                                                    Deadline deadline);
  std::shared_ptr<const RobotsRules> known_rules(const std::string& origin, Clock::Instant now);
  boost::asio::awaitable<Result<Source>> read_answer(Answer answer, PagePart part,
                                                     Deadline deadline);

  WebOptions options_;
  std::string product_;  // the name that robots.txt knows us by
  std::unique_ptr<http::Client> client_;
  boost::asio::any_io_executor pool_;
  SourceCache cache_;
  std::mutex robots_mutex_;
  std::map<std::string, Site> robots_;  // by origin; under robots_mutex_
};

}  // namespace ponder::tools
