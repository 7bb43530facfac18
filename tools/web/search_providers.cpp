#include <fmt/format.h>

#include <utility>

#include "base/http/url.h"
#include "tools/detail/json.h"
#include "tools/web/detail/http_provider.h"
#include "tools/web/local_index.h"
#include "tools/web/page_text.h"

namespace ponder::tools {
namespace {

constexpr const char* kBraveAddress = "https://api.search.brave.com/res/v1/web/search";
constexpr const char* kTavilyAddress = "https://api.tavily.com/search";
constexpr const char* kDuckDuckGoAddress = "https://html.duckduckgo.com/html/";

/// A member that is a text; empty where it is not.
std::string text_in(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() || !found->is_string() ? "" : found->get<std::string>();
}

/// The array of objects at a path; nothing where something else is there.
std::vector<Json> objects_in(const Json& value, std::initializer_list<const char*> path) {
  const Json* at = &value;
  for (const char* key : path) {
    const auto found = at->is_object() ? at->find(key) : at->end();
    if (found == at->end()) return {};
    at = &*found;
  }
  std::vector<Json> objects;
  if (!at->is_array()) return objects;
  for (const Json& item : *at) {
    if (item.is_object()) objects.push_back(item);
  }
  return objects;
}

Result<Json> read_object(const std::string& body) {
  const auto json = parse_json(body);
  if (!json || !json->is_object()) {
    return fail(Errc::unavailable, "the answer is not the JSON that was asked for");
  }
  return *json;
}

/// SearXNG, https://docs.searxng.org/dev/search_api: GET /search?q=...&format=json gives
/// {"results": [{"url", "title", "content", "publishedDate"}], "unresponsive_engines": [[name,
/// why]]}. A format that settings.yml does not allow is answered with 403.
class Searxng final : public HttpProvider {
 public:
  using HttpProvider::HttpProvider;

 private:
  http::Request request_for(const SearchQuery& query) const override {
    http::Url place = url();
    place.target += "?format=json&q=" + http::percent_encoded(query.text);
    if (!query.newer_than.empty()) place.target += "&time_range=" + query.newer_than;
    http::Request request("GET", std::move(place));
    request.headers = {{"Accept", "application/json"}};
    return request;
  }
  Result<std::vector<SearchHit>> read(const http::Response&,
                                      const std::string& body) const override {
    PONDER_TRY(const Json answer, read_object(body));
    std::vector<SearchHit> hits;
    for (const Json& result : objects_in(answer, {"results"})) {
      hits.push_back({text_in(result, "title"), text_in(result, "url"), text_in(result, "content"),
                      text_in(result, "publishedDate")});
    }
    const auto failed = answer.find("unresponsive_engines");
    if (hits.empty() && failed != answer.end() && failed->is_array() && !failed->empty()) {
      return fail(Errc::unavailable, "its engines did not answer: " + dump_json_short(*failed));
    }
    return hits;
  }
  Error refusal(const http::Response& response) const override {
    if (response.status != 403) return Error(Errc::internal, "");
    return Error(Errc::invalid_argument,
                 "refuses (status 403): its settings.yml must list json under search.formats");
  }
};

/// Brave Search, https://api-dashboard.search.brave.com/api-reference/web/search/get:
/// {"web": {"results": [{"title", "url", "description", "page_age", "age"}]}}; at most 20 results
/// and 400 characters of query. Texts are HTML. Errors: {"error": {"status", "code", "detail"}},
/// a bad key is 422 with SUBSCRIPTION_TOKEN_INVALID.
class Brave final : public HttpProvider {
 public:
  using HttpProvider::HttpProvider;

 private:
  http::Request request_for(const SearchQuery& query) const override {
    http::Url place = url();
    place.target += fmt::format("?q={}&count={}&result_filter=web&text_decorations=false",
                                http::percent_encoded(query.text), std::min(query.hits_max, 20U));
    if (!query.newer_than.empty()) {
      place.target += fmt::format("&freshness=p{}", query.newer_than[0]);  // pd, pw, pm, py
    }
    http::Request request("GET", std::move(place));
    request.headers = {{"Accept", "application/json"}, {"X-Subscription-Token", api_key()}};
    return request;
  }
  Result<std::vector<SearchHit>> read(const http::Response&,
                                      const std::string& body) const override {
    PONDER_TRY(const Json answer, read_object(body));
    std::vector<SearchHit> hits;
    for (const Json& result : objects_in(answer, {"web", "results"})) {
      const std::string date = text_in(result, "page_age");
      hits.push_back({html_to_line(text_in(result, "title")), text_in(result, "url"),
                      html_to_line(text_in(result, "description")),
                      date.empty() ? text_in(result, "age") : date});
    }
    return hits;
  }
  Error refusal(const http::Response& response) const override {
    if (response.body.find("SUBSCRIPTION_TOKEN_INVALID") != std::string::npos) {
      return Error(Errc::invalid_argument, "refuses the key");
    }
    return Error(Errc::internal, "");
  }
};

/// Tavily, https://docs.tavily.com/api-reference/endpoint/search: POST with a bearer key gives
/// {"results": [{"title", "url", "content", "published_date"}]}. Statuses 432 and 433 are limits of
/// the plan (https://help.tavily.com/articles/8645538886-understanding-http-errors).
class Tavily final : public HttpProvider {
 public:
  using HttpProvider::HttpProvider;

 private:
  http::Request request_for(const SearchQuery& query) const override {
    http::Request request("POST", url());
    request.headers = {{"Accept", "application/json"},
                       {"Content-Type", "application/json"},
                       {"Authorization", "Bearer " + api_key()}};
    Json body = {{"query", query.text}, {"max_results", std::min(query.hits_max, 20U)}};
    if (!query.newer_than.empty()) body["time_range"] = query.newer_than;
    request.body = dump_json(body);
    return request;
  }
  Result<std::vector<SearchHit>> read(const http::Response&,
                                      const std::string& body) const override {
    PONDER_TRY(const Json answer, read_object(body));
    std::vector<SearchHit> hits;
    for (const Json& result : objects_in(answer, {"results"})) {
      hits.push_back({text_in(result, "title"), text_in(result, "url"), text_in(result, "content"),
                      text_in(result, "published_date")});
    }
    return hits;
  }
  Error refusal(const http::Response& response) const override {
    if (response.status == 432 || response.status == 433) {
      return Error(Errc::exhausted, "the plan's limit is reached");
    }
    return Error(Errc::internal, "");
  }
};

/// The address of a provider's service, with what belongs behind it.
Result<http::Url> address_of(const SearchOptions& options, const char* otherwise) {
  if (!options.address.empty()) return http::parse_url(options.address);
  return http::parse_url(otherwise);
}

Status check_key(const SearchOptions& options) {
  if (!options.api_key.empty()) return {};
  return fail(Errc::invalid_argument, fmt::format("{} needs an API key", options.provider));
}

Result<std::unique_ptr<SearchProvider>> make_remote(const SearchOptions& options) {
  http::ClientOptions client_options;
  client_options.ca_file = options.ca_file;
  PONDER_TRY(auto client, http::Client::create(std::move(client_options)));
  if (options.provider == "searxng") {
    if (options.address.empty()) {
      return fail(Errc::invalid_argument, "searxng needs the address of an instance");
    }
    PONDER_TRY(http::Url url, http::parse_url(options.address));
    while (url.target.ends_with('/')) url.target.pop_back();
    url.target += "/search";
    return make_searxng(std::move(url), std::move(client));
  }
  if (options.provider == "duckduckgo") {
    PONDER_TRY(http::Url url, address_of(options, kDuckDuckGoAddress));
    return make_duckduckgo(std::move(url), std::move(client));
  }
  PONDER_CHECK(check_key(options));
  const bool is_brave = options.provider == "brave";
  PONDER_TRY(http::Url url, address_of(options, is_brave ? kBraveAddress : kTavilyAddress));
  if (is_brave) return make_brave(std::move(url), options.api_key, std::move(client));
  return make_tavily(std::move(url), options.api_key, std::move(client));
}

}  // namespace

std::unique_ptr<SearchProvider> make_searxng(http::Url url, std::unique_ptr<http::Client> client) {
  return std::make_unique<Searxng>("searxng", std::move(url), "", std::move(client));
}

std::unique_ptr<SearchProvider> make_brave(http::Url url, std::string api_key,
                                           std::unique_ptr<http::Client> client) {
  return std::make_unique<Brave>("brave", std::move(url), std::move(api_key), std::move(client));
}

std::unique_ptr<SearchProvider> make_tavily(http::Url url, std::string api_key,
                                            std::unique_ptr<http::Client> client) {
  return std::make_unique<Tavily>("tavily", std::move(url), std::move(api_key), std::move(client));
}

Result<std::unique_ptr<SearchProvider>> make_search_provider(const SearchOptions& options,
                                                             boost::asio::any_io_executor pool) {
  const std::string& name = options.provider;
  if (name == "local") return make_local_provider(options.index, std::move(pool));
  if (name == "searxng" || name == "brave" || name == "tavily" || name == "duckduckgo") {
    return make_remote(options);
  }
  return fail(Errc::invalid_argument,
              fmt::format("no search provider {}: there are searxng, brave, tavily, duckduckgo and "
                          "local",
                          name));
}

}  // namespace ponder::tools
