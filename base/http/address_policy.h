#pragma once

#include <boost/asio/ip/address.hpp>
#include <string>
#include <vector>

#include "base/http/url.h"

namespace ponder::http {

/// Whether the whole Internet can reach an address: none of this machine, its networks, its link,
/// its cloud's metadata service, no multicast, nothing reserved, and no IPv6 form of such an IPv4
/// address (RFC 6890 and IANA's special-purpose registries).
bool is_public_address(const boost::asio::ip::address& address);

/// Which hosts a client may connect to.
///
/// Entries of the lists name a host as addresses do, whatever its case: "docs.example.org",
/// "127.0.0.1", "[::1]"; "*.example.org" is every name below, without the name itself; with
/// ":8080" behind it an entry means that port only. They are compared with the host as the address
/// has it, never with what it resolves to: a foreign name for an exempt machine is not exempt.
struct AddressPolicy {
  /// Refuses what is_public_address refuses. Asked about each address that a name has, after it was
  /// resolved and before it is connected to, so that a name cannot change its mind in between.
  bool is_public_only = false;
  std::vector<std::string> exempt;   // hosts that need not be public
  std::vector<std::string> allowed;  // when not empty: the only hosts

  /// `invalid_argument` when the host is not allowed at all.
  Status check_host(const Url& url) const;
  /// Whether `url` may be fetched from this address of its host.
  bool admits(const Url& url, const boost::asio::ip::address& address) const;
};

}  // namespace ponder::http
