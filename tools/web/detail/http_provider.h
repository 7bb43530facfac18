#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/http/http_client.h"
#include "tools/web/search_provider.h"

namespace ponder::tools {

/// A provider behind HTTP: one request, one answer. Derived ones say what is asked and what the
/// answer means.
class HttpProvider : public SearchProvider {
 public:
  HttpProvider(std::string name, http::Url url, std::string api_key,
               std::unique_ptr<http::Client> client);
  const std::string& name() const override { return name_; }
  boost::asio::awaitable<Result<std::vector<SearchHit>>> search(SearchQuery query) final;

 protected:
  const http::Url& url() const { return url_; }
  const std::string& api_key() const { return api_key_; }

 private:
  virtual http::Request request_for(const SearchQuery& query) const = 0;
  virtual Result<std::vector<SearchHit>> read(const http::Response& head,
                                              const std::string& body) const = 0;
  /// What a status other than 2xx means here; Errc::internal: what it means everywhere.
  virtual Error refusal(const http::Response& response) const;
  Error judge(const http::Response& response) const;
  /// The error with the provider's name, and without its key, which a server may repeat.
  tl::unexpected<Error> named(Error error) const;

  std::string name_;
  http::Url url_;
  std::string api_key_;
  std::unique_ptr<http::Client> client_;
};

std::unique_ptr<SearchProvider> make_searxng(http::Url url, std::unique_ptr<http::Client> client);
std::unique_ptr<SearchProvider> make_brave(http::Url url, std::string api_key,
                                           std::unique_ptr<http::Client> client);
std::unique_ptr<SearchProvider> make_tavily(http::Url url, std::string api_key,
                                            std::unique_ptr<http::Client> client);
std::unique_ptr<SearchProvider> make_duckduckgo(http::Url url,
                                                std::unique_ptr<http::Client> client);

}  // namespace ponder::tools
