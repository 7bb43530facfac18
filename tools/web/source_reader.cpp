#include "tools/web/detail/source_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/async/offload.h"
#include "base/digest.h"
#include "base/http/redirect.h"
#include "tools/web/charset.h"
#include "tools/web/foreign_text.h"
#include "tools/web/pdf_text.h"

namespace ponder::tools {

namespace asio = boost::asio;

namespace {

constexpr std::uint32_t kRedirectsMax = 5;
constexpr std::size_t kSourcesMax = 256;
constexpr std::size_t kSitesMax = 256;
constexpr std::size_t kRobotsBytesMax = 500 * 1024;                          // RFC 9309, 2.5
constexpr std::chrono::milliseconds kRobotsAgeMax = std::chrono::hours(24);  // RFC 9309, 2.4
constexpr std::size_t kAddressBytesMax = 2048;

enum class Kind { html, text, pdf, other };

bool is_binary(std::string_view bytes) {
  return bytes.substr(0, 1024).find('\0') != std::string_view::npos;
}

/// What a document is, by its header; where that says nothing of use, by its beginning.
Kind kind_of(const std::string& type, std::string_view bytes) {
  if (type == "text/html" || type == "application/xhtml+xml") return Kind::html;
  if (type == "application/pdf" || bytes.starts_with("%PDF-")) return Kind::pdf;
  const bool is_text = type.starts_with("text/") || type.ends_with("+json") ||
                       type.ends_with("+xml") || type.find("json") != std::string::npos ||
                       type == "application/xml" || type == "application/javascript" ||
                       type == "application/x-yaml" || type == "application/yaml" ||
                       type == "application/toml" || type == "application/x-sh";
  const bool is_wide = bytes.starts_with("\xFF\xFE") || bytes.starts_with("\xFE\xFF");
  if (is_text) return is_binary(bytes) && !is_wide ? Kind::other : Kind::text;
  if (!type.empty() && type != "application/octet-stream") return Kind::other;
  if (is_binary(bytes)) return Kind::other;
  const std::string begin = foreign_line(bytes.substr(0, 512), 512);
  return begin.starts_with('<') && begin.find("html") != std::string::npos ? Kind::html
                                                                           : Kind::text;
}

std::string header_of(const http::Response& head, const char* name) {
  const auto found = head.headers.find(name);
  return found == head.headers.end() ? "" : found->second;
}

std::string product_of(const std::string& user_agent) {
  std::string name = user_agent.substr(0, user_agent.find_first_of("/ "));
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return name;
}

}  // namespace

SourcePtr SourceCache::find(const std::string& key, Clock::Instant now) {
  const std::lock_guard lock(mutex_);
  const auto found = std::find_if(entries_.begin(), entries_.end(),
                                  [&key](const Entry& entry) { return entry.key == key; });
  if (found == entries_.end() || now - found->kept_at > age_max_) return nullptr;
  entries_.splice(entries_.begin(), entries_, found);
  return entries_.front().source;
}

void SourceCache::keep(const std::string& key, SourcePtr source, Clock::Instant now) {
  const std::lock_guard lock(mutex_);
  const auto drop = [this](std::list<Entry>::iterator entry) {
    bytes_ -= entry->source->text.size();
    entries_.erase(entry);
  };
  const auto old = std::find_if(entries_.begin(), entries_.end(),
                                [&key](const Entry& entry) { return entry.key == key; });
  if (old != entries_.end()) drop(old);
  bytes_ += source->text.size();
  entries_.push_front({key, std::move(source), now});
  while (!entries_.empty() && (bytes_ > bytes_max_ || entries_.size() > kSourcesMax)) {
    drop(std::prev(entries_.end()));
  }
}

SourceReader::SourceReader(WebOptions options, std::unique_ptr<http::Client> client,
                           asio::any_io_executor pool)
    : options_(std::move(options)),
      product_(product_of(options_.user_agent)),
      client_(std::move(client)),
      pool_(std::move(pool)),
      cache_(options_.cache_ms_max, options_.cache_bytes_max) {}

asio::awaitable<Result<SourcePtr>> SourceReader::read(std::string address, PagePart part,
                                                      const Clock* clock, Deadline deadline) {
  auto url = http::parse_url(address);
  PONDER_CO_CHECK(url);
  if (url->text().size() > kAddressBytesMax) {
    co_return fail(Errc::invalid_argument, "the address is too long");
  }
  const std::string key = (part == PagePart::whole ? "whole " : "article ") + url->text();
  SourcePtr known = cache_.find(key, clock->now());
  if (known != nullptr) co_return known;
  auto answer = co_await fetch(*url, clock, deadline);
  PONDER_CO_CHECK(answer);
  const std::int64_t unix_ms = clock->unix_ms();
  auto source = co_await read_answer(std::move(*answer), part, deadline);
  PONDER_CO_CHECK(source);
  source->unix_ms = unix_ms;
  auto shared = std::make_shared<const Source>(std::move(*source));
  cache_.keep(key, shared, clock->now());
  co_return SourcePtr(shared);
}

asio::awaitable<Result<SourceReader::Answer>> SourceReader::fetch(http::Url url, const Clock* clock,
                                                                  Deadline deadline) {
  http::Request request("GET", std::move(url));
  request.headers = {{"Accept",
                      "text/html,application/xhtml+xml,text/markdown,text/plain;q=0.9,"
                      "application/json;q=0.9,application/pdf;q=0.8,*/*;q=0.1"},
                     {"Accept-Language", "en,*;q=0.5"}};
  request.takes_compressed = true;
  request.deadline = deadline;
  // Redirects are followed here and not by the client: each place has its own robots.txt.
  for (std::uint32_t redirects = 0; redirects <= kRedirectsMax; ++redirects) {
    const Status allowed = co_await check_robots(request.url, clock, deadline);
    PONDER_CO_CHECK(allowed);
    auto answer = co_await fetch_one(request);
    PONDER_CO_CHECK(answer);
    if (!http::is_redirect(answer->head)) {
      const int status = answer->head.status;
      if (status >= 200 && status < 300) co_return answer;
      co_return fail(Errc::invalid_argument,
                     fmt::format("{} answered {}", answer->head.url.text(), status));
    }
    auto next = http::redirected(std::move(request), answer->head);
    PONDER_CO_CHECK(next);
    request = std::move(*next);
  }
  co_return fail(Errc::exhausted, fmt::format("more than {} redirects", kRedirectsMax));
}

asio::awaitable<Result<SourceReader::Answer>> SourceReader::fetch_one(http::Request request) {
  Answer answer;
  http::BodySink sink = [&answer, this](const http::Response& head,
                                        std::string_view piece) -> Status {
    if (answer.body.empty()) answer.head = head;
    const bool is_pdf = media_type(header_of(head, "content-type")) == "application/pdf";
    const std::uint64_t bytes_max = is_pdf ? options_.pdf_bytes_max : options_.page_bytes_max;
    const std::size_t room = bytes_max - answer.body.size();
    answer.body += piece.substr(0, room);
    if (piece.size() <= room) return {};
    answer.is_cut = true;
    return fail(Errc::exhausted, "the document is too long");
  };
  const http::Url url = request.url;
  auto response = co_await client_->send(std::move(request), std::move(sink));
  if (!response && !answer.is_cut) co_return tl::unexpected<Error>(response.error());
  if (response) answer.head = std::move(*response);
  answer.head.url = url;
  co_return answer;
}

std::shared_ptr<const RobotsRules> SourceReader::known_rules(const std::string& origin,
                                                             Clock::Instant now) {
  const std::lock_guard lock(robots_mutex_);
  const auto found = robots_.find(origin);
  const bool is_known = found != robots_.end() && now < found->second.fresh_until;
  return is_known ? found->second.rules : nullptr;
}

asio::awaitable<Status> SourceReader::check_robots(http::Url url, const Clock* clock,
                                                   Deadline deadline) {
  if (!options_.obeys_robots) co_return Status();
  http::Url origin = url;
  origin.target = "/robots.txt";
  const std::string key = origin.text();
  auto rules = known_rules(key, clock->now());
  if (rules == nullptr) {
    auto fetched = co_await fetch_robots(std::move(origin), clock, deadline);
    PONDER_CO_CHECK(fetched);
    rules = fetched->rules;
    const std::lock_guard lock(robots_mutex_);
    if (robots_.size() >= kSitesMax) robots_.clear();
    robots_.insert_or_assign(key, std::move(*fetched));
  }
  if (rules->allows(url.target)) co_return Status();
  co_return fail(Errc::invalid_argument, fmt::format("{} asks programs not to read {} (robots.txt)",
                                                     url.authority(), url.target));
}

/// RFC 9309, 2.3: a site that has no such file (4xx) lets everything be read, one that is in
/// trouble (5xx) nothing, for a while. One that cannot be reached at all is an error, and asked
/// again.
asio::awaitable<Result<SourceReader::Site>> SourceReader::fetch_robots(http::Url url,
                                                                       const Clock* clock,
                                                                       Deadline deadline) {
  http::Request request("GET", std::move(url));
  request.takes_compressed = true;
  request.deadline = deadline;
  request.redirects_max = kRedirectsMax;
  std::string text;
  http::BodySink sink = [&text](const http::Response&, std::string_view piece) -> Status {
    text += piece.substr(0, kRobotsBytesMax - text.size());
    if (text.size() < kRobotsBytesMax) return {};
    return fail(Errc::exhausted, "robots.txt is too long");
  };
  const auto response = co_await client_->send(std::move(request), std::move(sink));
  const bool is_cut = text.size() == kRobotsBytesMax;
  if (!response && !is_cut) co_return tl::unexpected<Error>(response.error());
  const int status = response ? response->status : 200;
  const bool is_in_trouble = status >= 500;
  RobotsRules rules = RobotsRules::all();
  if (is_in_trouble) rules = RobotsRules::none();
  if (status < 300) rules = RobotsRules(text, product_);
  const auto age_max = is_in_trouble ? options_.cache_ms_max : kRobotsAgeMax;
  Site site;
  site.rules = std::make_shared<const RobotsRules>(std::move(rules));
  site.fresh_until = clock->now() + age_max;
  co_return site;
}

asio::awaitable<Result<Source>> SourceReader::read_answer(Answer answer, PagePart part,
                                                          Deadline deadline) {
  const std::string content_type = header_of(answer.head, "content-type");
  const Kind kind = kind_of(media_type(content_type), answer.body);
  Source source;
  source.address = answer.head.url.text();
  source.is_cut = answer.is_cut;
  if (kind == Kind::other) {
    co_return fail(Errc::invalid_argument,
                   fmt::format("{} has no text that can be read ({})", source.address,
                               foreign_line(media_type(content_type), 80)));
  }
  auto work = [&answer, &source, &content_type, kind, part] {
    source.sha256 = sha256_hex(answer.body);
    if (kind == Kind::pdf) return true;
    std::string text = to_utf8(answer.body, content_type, kind == Kind::html);
    if (kind == Kind::html) {
      PageText page = read_html(text, answer.head.url, part);
      source.title = std::move(page.title);
      source.date = std::move(page.published);
      text = std::move(page.text);
    }
    source.text = std::move(text);
    return true;
  };
  co_await offload(pool_, std::move(work));
  if (kind != Kind::pdf) co_return source;
  if (answer.is_cut) co_return fail(Errc::exhausted, "the PDF document is too long");
  auto text = co_await pdf_text(std::move(answer.body), deadline);
  if (!text) co_return fail_in(source.address, text.error());
  source.text = std::move(*text);
  co_return source;
}

}  // namespace ponder::tools
