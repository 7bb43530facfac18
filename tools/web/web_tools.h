#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <string>

#include "base/http/address_policy.h"
#include "base/result.h"
#include "tools/registry.h"
#include "tools/web/search_provider.h"

namespace ponder::tools {

/// What `web_search` and `web_fetch` need to be granted.
inline constexpr const char* kWeb = "web";

struct WebOptions {
  /// No provider: there is no `web_search`. With "local", `web_fetch` reads from that index too.
  SearchOptions search;
  /// Whether there is a `web_fetch` for the web. Off with the provider "local", it reads from the
  /// index alone.
  bool has_fetch = true;
  /// Which hosts web_fetch may reach; never this machine or its networks, but for `exempt`.
  http::AddressPolicy addresses = {.is_public_only = true, .exempt = {}, .allowed = {}};
  bool obeys_robots = true;
  /// What sites are told; its part before "/" is the name that robots.txt is searched for.
  std::string user_agent = "ponder/0.1";
  std::chrono::milliseconds search_ms_max{20'000};
  std::chrono::milliseconds fetch_ms_max{30'000};  // redirects and robots.txt included
  std::uint64_t page_bytes_max = 5 << 20;          // of text and HTML; the rest is not read
  std::uint64_t pdf_bytes_max = 20 << 20;
  std::size_t answer_bytes_max = 16'000;  // of text in one result; longer documents have pages
  /// How long, and how much of, what was read is kept for the next page or question.
  std::chrono::milliseconds cache_ms_max{15 * 60'000};
  std::size_t cache_bytes_max = 32 << 20;
  std::filesystem::path ca_file;  // more certificates to trust than the system's
};

/// Adds `web_search` and `web_fetch`, both pure; docs/web.md describes them.
///
/// What they give the model is fenced as foreign text. web_fetch names an evidence, and keeps a
/// note of kind "source" (JSON: evidence, address, sha256 of the bytes, time, title, page) in the
/// session's log, so that an answer can cite what was read.
///
/// Lifetime: `pool`, which runs what blocks, outlives the registry's calls. Fails as
/// make_search_provider does, and when the certificates cannot be used.
Status add_web_tools(Registry& registry, const WebOptions& options,
                     boost::asio::any_io_executor pool);

}  // namespace ponder::tools
