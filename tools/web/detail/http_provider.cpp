#include "tools/web/detail/http_provider.h"

#include <fmt/format.h>

#include <utility>

#include "tools/web/foreign_text.h"

namespace ponder::tools {

namespace asio = boost::asio;

namespace {

constexpr std::uint64_t kAnswerBytesMax = 4 << 20;
constexpr std::size_t kExcerptBytesMax = 200;

}  // namespace

HttpProvider::HttpProvider(std::string name, http::Url url, std::string api_key,
                           std::unique_ptr<http::Client> client)
    : name_(std::move(name)),
      url_(std::move(url)),
      api_key_(std::move(api_key)),
      client_(std::move(client)) {}

asio::awaitable<Result<std::vector<SearchHit>>> HttpProvider::search(SearchQuery query) {
  http::Request request = request_for(query);
  request.deadline = query.deadline;
  request.body_bytes_max = kAnswerBytesMax;
  request.redirects_max = 3;
  request.takes_compressed = true;
  std::string body;
  http::BodySink sink = [&body](const http::Response&, std::string_view piece) -> Status {
    body += piece;
    return {};
  };
  const auto response = co_await client_->send(std::move(request), std::move(sink));
  if (!response) co_return named(response.error());
  if (response->status < 200 || response->status >= 300) co_return named(judge(*response));
  auto hits = read(*response, body);
  if (!hits) co_return named(hits.error());
  if (hits->size() > query.hits_max) hits->resize(query.hits_max);
  co_return hits;
}

Error HttpProvider::refusal(const http::Response&) const { return Error(Errc::internal, ""); }

Error HttpProvider::judge(const http::Response& response) const {
  const Error own = refusal(response);
  if (own.code != Errc::internal) return own;
  const int status = response.status;
  if (status == 429) {
    const auto wait = response.headers.find("retry-after");
    const std::string when = wait == response.headers.end()
                                 ? "later"
                                 : fmt::format("in {} s", foreign_line(wait->second, 40));
    return Error(Errc::exhausted, "too many requests; try again " + when);
  }
  if (status == 401 || status == 403) {
    return Error(Errc::invalid_argument, fmt::format("refuses the key (status {})", status));
  }
  const std::string words = foreign_line(response.body, kExcerptBytesMax);
  return Error(status >= 500 ? Errc::unavailable : Errc::invalid_argument,
               fmt::format("answered {}{}{}", status, words.empty() ? "" : ": ", words));
}

tl::unexpected<Error> HttpProvider::named(Error error) const {
  std::string message = error.code == Errc::deadline ? "did not answer in time" : error.message;
  for (std::size_t at = 0;
       !api_key_.empty() && (at = message.find(api_key_, at)) != std::string::npos;) {
    message.replace(at, api_key_.size(), "[key]");
  }
  return fail_in(name_, Error(error.code, std::move(message)));
}

}  // namespace ponder::tools
