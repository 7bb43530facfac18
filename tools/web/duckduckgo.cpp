#include <fmt/format.h>

#include <optional>
#include <utility>

#include "tools/web/detail/html_tree.h"
#include "tools/web/detail/http_provider.h"

namespace ponder::tools {
namespace {

/// DuckDuckGo's page for browsers without scripts; no documented interface, so it may change or
/// refuse at any time. As observed in 2026: POST q=... gives elements of class "result", ads also
/// "result--ad", in each a link "result__a" (to the place itself, formerly through /l/?uddg=), a
/// "result__snippet" and a date in "result__extras". Too many requests give status 202 and a page
/// with "anomaly-modal". `df` is d, w, m or y.
class DuckDuckGo final : public HttpProvider {
 public:
  using HttpProvider::HttpProvider;

 private:
  http::Request request_for(const SearchQuery& query) const override {
    http::Request request("POST", url());
    request.headers = {{"Accept", "text/html"},
                       {"Content-Type", "application/x-www-form-urlencoded"}};
    request.body = "q=" + http::percent_encoded(query.text) + "&b=";
    if (!query.newer_than.empty()) request.body += fmt::format("&df={}", query.newer_than[0]);
    return request;
  }

  Result<std::vector<SearchHit>> read(const http::Response& head,
                                      const std::string& body) const override {
    if (head.status == 202 || body.find("anomaly-modal") != std::string::npos) {
      return fail(Errc::exhausted, "takes us for a robot (too many requests); try again later");
    }
    const html::Document document = html::parse(body);
    const xmlNode* root = document == nullptr ? nullptr : xmlDocGetRootElement(document.get());
    std::vector<SearchHit> hits;
    bool is_understood = false;
    if (root != nullptr) {
      html::for_each(root, [&](const xmlNode* node) {
        is_understood =
            is_understood || html::has_class(node, "no-results") || html::has_class(node, "result");
        if (!html::has_class(node, "result") || html::has_class(node, "result--ad")) return;
        if (auto hit = hit_of(node)) hits.push_back(std::move(*hit));
      });
    }
    if (!is_understood) return fail(Errc::unavailable, "answered with a page of another kind");
    return hits;
  }

  static const xmlNode* of_class(const xmlNode* node, const char* name) {
    return html::find(node, [name](const xmlNode* below) { return html::has_class(below, name); });
  }

  static std::optional<SearchHit> hit_of(const xmlNode* result) {
    const xmlNode* link = of_class(result, "result__a");
    if (link == nullptr) return std::nullopt;
    SearchHit hit;
    hit.title = html::text_of(link);
    hit.address = place_of(html::attribute(link, "href"));
    const xmlNode* snippet = of_class(result, "result__snippet");
    if (snippet != nullptr) hit.snippet = html::text_of(snippet);
    const xmlNode* extras = of_class(result, "result__extras");
    if (extras == nullptr) return hit;
    const xmlNode* date = html::find(extras, [](const xmlNode* node) {
      const std::string text = html::text_of(node);
      return html::name_of(node) == "span" && text.size() >= 10 && text[0] == '2' &&
             text[4] == '-' && text[7] == '-';
    });
    if (date != nullptr) hit.date = html::text_of(date);
    return hit;
  }

  /// The place behind DuckDuckGo's own redirection.
  static std::string place_of(std::string reference) {
    const std::size_t at = reference.find("/l/?uddg=");
    if (at == std::string::npos) return reference;
    const std::string value = reference.substr(at + std::string_view("/l/?uddg=").size());
    return http::percent_decoded(value.substr(0, value.find('&')));
  }
};

}  // namespace

std::unique_ptr<SearchProvider> make_duckduckgo(http::Url url,
                                                std::unique_ptr<http::Client> client) {
  return std::make_unique<DuckDuckGo>("duckduckgo", std::move(url), "", std::move(client));
}

}  // namespace ponder::tools
