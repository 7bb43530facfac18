#include "tools/script/grants.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/ip/address.hpp>
#include <cctype>
#include <iterator>
#include <utility>

#include "base/http/url.h"

namespace ponder::tools {
namespace {

constexpr const char* kKnown =
    "http, http:HOST, fs, fs-read, sql, exec, exec:PROGRAM, secret:NAME, kv, ask, agent";

struct Capability {
  std::string_view word;
  std::string_view detail;  // behind the colon; empty: none
};

Capability split(std::string_view text) {
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos) return {text, {}};
  return {text.substr(0, colon), text.substr(colon + 1)};
}

bool contains(const std::vector<std::string>& list, std::string_view item) {
  return std::find(list.begin(), list.end(), item) != list.end();
}

/// Whether one of the entries allows the host that `entry` names.
bool names_host(const std::vector<std::string>& entries, std::string_view entry) {
  if (contains(entries, entry)) return true;
  const auto url = http::parse_url(fmt::format("https://{}/", entry));
  http::AddressPolicy policy;
  policy.allowed = entries;
  return url && !entries.empty() && policy.check_host(*url);
}

/// Whether an entry of hosts can only mean one's own network: an address, or a name that no
/// stranger can own (RFC 6761, 6762, 8375; ICANN's .internal).
bool is_own_network(std::string_view entry) {
  const bool is_wild = entry.starts_with("*.");
  const auto url = http::parse_url(fmt::format("http://{}/", is_wild ? entry.substr(2) : entry));
  if (!url) return false;
  std::string host = url->host;
  std::transform(host.begin(), host.end(), host.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (host.ends_with('.')) host.pop_back();
  boost::system::error_code error;
  boost::asio::ip::make_address(host, error);
  if (!error) return true;
  if (!is_wild && host.find('.') == std::string::npos) return true;
  host.insert(0, 1, '.');
  constexpr std::string_view kOwnEndings[] = {".localhost", ".local", ".internal", ".home.arpa"};
  return std::any_of(std::begin(kOwnEndings), std::end(kOwnEndings),
                     [&host](std::string_view ending) { return host.ends_with(ending); });
}

/// Takes a capability that is only a word.
void take_word(std::string_view word, LuaGrants& out) {
  out.has_sql = out.has_sql || word == "sql";
  out.has_kv = out.has_kv || word == "kv";
  out.has_ask = out.has_ask || word == "ask";
  out.has_agent = out.has_agent || word == "agent";
}

Status take_grant(const Capability& grant, std::string_view whole, LuaGrants& out) {
  const auto& [word, detail] = grant;
  if (word == "http" && detail.empty()) {
    out.has_public_http = true;
  } else if (word == "http" || word == "http-private") {
    if (detail.empty()) {
      return fail(Errc::invalid_argument, fmt::format("grant '{}' names no host", whole));
    }
    out.hosts.emplace_back(detail);
    if (word == "http-private" || is_own_network(detail)) out.private_hosts.emplace_back(detail);
  } else if (word == "fs" || word == "fs-read") {
    if (detail.empty()) {
      return fail(Errc::invalid_argument,
                  fmt::format("grant '{}' names no folder: {}:DIR", whole, word));
    }
    if (out.folder) return fail(Errc::invalid_argument, "two folders are granted; one is possible");
    out.folder = std::filesystem::path(detail);
    out.may_write = word == "fs";
  } else if (word == "exec" && detail.empty()) {
    out.has_all_programs = true;
  } else if (word == "exec") {
    out.programs.emplace_back(detail);
  } else if (word == "secret") {
    out.secrets.emplace_back(detail);
  } else {
    take_word(word, out);
  }
  return {};
}

}  // namespace

Status check_capability(std::string_view capability) {
  const auto [word, detail] = split(capability);
  const bool has_colon = capability.find(':') != std::string_view::npos;
  const bool is_plain = word == "sql" || word == "kv" || word == "ask" || word == "agent" ||
                        word == "fs" || word == "fs-read";
  const bool is_limited = word == "http" || word == "exec";
  if (is_plain && !has_colon) return {};
  if (is_limited && (!has_colon || !detail.empty())) return {};
  if (word == "secret" && !detail.empty()) return {};
  return fail(Errc::invalid_argument,
              fmt::format("'{}' is no capability; there are: {}", capability, kKnown));
}

Result<LuaGrants> parse_grants(std::span<const std::string> grants) {
  LuaGrants out;
  for (const std::string& text : grants) {
    const Capability grant = split(text);
    const bool is_only_grant =
        grant.word == "fs" || grant.word == "fs-read" || grant.word == "http-private";
    if (!is_only_grant) {
      PONDER_CHECK(check_capability(text));
    }
    PONDER_CHECK(take_grant(grant, text, out));
  }
  return out;
}

bool is_covered(const LuaGrants& grants, std::string_view capability) {
  const auto [word, detail] = split(capability);
  if (word == "http" && detail.empty()) return grants.has_http();
  if (word == "http") {
    return grants.has_public_http || names_host(grants.hosts, detail);
  }
  if (word == "fs") return grants.folder.has_value() && grants.may_write;
  if (word == "fs-read") return grants.folder.has_value();
  if (word == "exec") {
    return grants.has_all_programs || (!detail.empty() && contains(grants.programs, detail)) ||
           (detail.empty() && !grants.programs.empty());
  }
  if (word == "secret") return contains(grants.secrets, detail);
  return (word == "sql" && grants.has_sql) || (word == "kv" && grants.has_kv) ||
         (word == "ask" && grants.has_ask) || (word == "agent" && grants.has_agent);
}

LuaGrants narrow(const LuaGrants& grants, std::span<const std::string> capabilities) {
  LuaGrants out;
  bool has_any_host = false;
  for (const std::string& capability : capabilities) {
    if (!is_covered(grants, capability)) continue;
    const auto [word, detail] = split(capability);
    if (word == "http") {
      out.has_public_http = grants.has_public_http;
      out.hosts = grants.hosts;
      out.private_hosts = grants.private_hosts;
      has_any_host = has_any_host || detail.empty();
      if (!detail.empty()) out.only_hosts.emplace_back(detail);
    } else if (word == "fs" || word == "fs-read") {
      out.folder = grants.folder;
      out.may_write = out.may_write || word == "fs";
    } else if (word == "exec" && detail.empty()) {
      out.has_all_programs = grants.has_all_programs;
      out.programs.insert(out.programs.end(), grants.programs.begin(), grants.programs.end());
    } else if (word == "exec") {
      out.programs.emplace_back(detail);
    } else if (word == "secret") {
      out.secrets.emplace_back(detail);
    } else {
      take_word(word, out);
    }
  }
  if (has_any_host) out.only_hosts.clear();
  return out;
}

http::AddressPolicy address_policy(const LuaGrants& grants) {
  http::AddressPolicy policy;
  policy.is_public_only = true;
  policy.exempt = grants.private_hosts;
  if (!grants.has_public_http) policy.allowed = grants.hosts;
  return policy;
}

Result<std::vector<std::string>> covered_capabilities(const Registry& registry,
                                                      std::span<const std::string> grants) {
  PONDER_TRY(const LuaGrants allowed, parse_grants(grants));
  std::vector<std::string> out;
  for (const context::ToolSpec& spec : registry.specs()) {
    for (const std::string& capability : registry.find(spec.name)->capabilities()) {
      if (is_covered(allowed, capability) && !contains(out, capability)) out.push_back(capability);
    }
  }
  return out;
}

}  // namespace ponder::tools
