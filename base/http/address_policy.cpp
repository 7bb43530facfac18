#include "base/http/address_policy.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdint>

namespace ponder::http {
namespace {

namespace ip = boost::asio::ip;

struct Network4 {
  std::uint32_t prefix;
  int bits;
};

// IANA's IPv4 special-purpose registry, multicast, and the address at which a large cloud keeps
// its machines' agents though it is a public one.
constexpr std::array<Network4, 17> kSpecial4 = {{
    {0x00000000, 8},   // "this network"
    {0x0A000000, 8},   // private
    {0x64400000, 10},  // carrier-grade NAT; metadata of one cloud
    {0x7F000000, 8},   // loopback
    {0xA9FE0000, 16},  // link-local; metadata of most clouds
    {0xA83F8110, 32},  // 168.63.129.16
    {0xAC100000, 12},  // private
    {0xC0000000, 24},  // protocol assignments; metadata of one cloud
    {0xC0000200, 24},  // documentation
    {0xC01FC400, 24},  // AS112
    {0xC0586300, 24},  // 6to4 relays
    {0xC0A80000, 16},  // private
    {0xC6120000, 15},  // benchmarks
    {0xC6336400, 24},  // documentation
    {0xCB007100, 24},  // documentation
    {0xE0000000, 4},   // multicast
    {0xF0000000, 4},   // reserved, broadcast
}};

bool is_public4(std::uint32_t address) {
  return std::none_of(kSpecial4.begin(), kSpecial4.end(), [address](const Network4& network) {
    return (address ^ network.prefix) >> (32 - network.bits) == 0;
  });
}

bool begins_with(const ip::address_v6::bytes_type& bytes, std::initializer_list<int> prefix) {
  return std::equal(prefix.begin(), prefix.end(), bytes.begin(),
                    [](int wanted, unsigned char byte) { return wanted == byte; });
}

std::uint32_t last4(const ip::address_v6::bytes_type& bytes) {
  return std::uint32_t{bytes[12]} << 24 | std::uint32_t{bytes[13]} << 16 |
         std::uint32_t{bytes[14]} << 8 | bytes[15];
}

bool is_public6(const ip::address_v6& address) {
  const auto bytes = address.to_bytes();
  if (address.is_v4_mapped()) return is_public4(last4(bytes));
  // NAT64 (RFC 6052): networks without IPv4 have no other way to it.
  if (begins_with(bytes, {0x00, 0x64, 0xFF, 0x9B, 0, 0, 0, 0, 0, 0, 0, 0})) {
    return is_public4(last4(bytes));
  }
  if ((bytes[0] & 0xE0) != 0x20) return false;  // only 2000::/3 is global unicast
  if (begins_with(bytes, {0x20, 0x01}) && bytes[2] < 2) return false;  // protocols, Teredo
  if (begins_with(bytes, {0x20, 0x01, 0x0D, 0xB8})) return false;      // documentation
  if (begins_with(bytes, {0x20, 0x02})) return false;                  // 6to4: holds any IPv4
  return !(bytes[0] == 0x3F && bytes[1] == 0xFF && bytes[2] < 0x10);   // documentation
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

/// One way to write a host: IPv6 in its shortest form, names without the dot of the root.
std::string canonical(std::string_view host) {
  boost::system::error_code error;
  const ip::address address = ip::make_address(std::string(host), error);
  if (!error) return address.to_string();
  if (host.ends_with('.')) host.remove_suffix(1);
  return lower(host);
}

bool matches(std::string_view entry, const Url& url) {
  std::string_view name = entry;
  const std::size_t bracket = entry.rfind(']');
  const std::size_t colon = entry.rfind(':');
  const bool is_bare_ipv6 = bracket == std::string_view::npos && entry.find(':') != colon;
  if (colon != std::string_view::npos && !is_bare_ipv6 &&
      (bracket == std::string_view::npos || colon > bracket)) {
    if (entry.substr(colon + 1) != url.port) return false;
    name = entry.substr(0, colon);
  }
  if (name.starts_with('[') && name.ends_with(']')) name = name.substr(1, name.size() - 2);
  const std::string host = canonical(url.host);
  if (!name.starts_with("*.")) return canonical(name) == host;
  const std::string ending = lower(name.substr(1));
  return host.size() > ending.size() && host.ends_with(ending);
}

bool is_listed(const std::vector<std::string>& entries, const Url& url) {
  return std::any_of(entries.begin(), entries.end(),
                     [&url](const std::string& entry) { return matches(entry, url); });
}

}  // namespace

bool is_public_address(const ip::address& address) {
  return address.is_v4() ? is_public4(address.to_v4().to_uint()) : is_public6(address.to_v6());
}

Status AddressPolicy::check_host(const Url& url) const {
  if (allowed.empty() || is_listed(allowed, url)) return {};
  return fail(Errc::invalid_argument,
              fmt::format("{} is not among the hosts that may be reached", url.authority()));
}

bool AddressPolicy::admits(const Url& url, const ip::address& address) const {
  if (!is_public_only || is_public_address(address)) return true;
  return is_listed(exempt, url);
}

}  // namespace ponder::http
