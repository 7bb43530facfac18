#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace ponder::e2e {

/// Why this machine lets a test make no networks of its own; nothing where it does.
std::optional<std::string> why_no_networks();

/// A network namespace of its own: another machine's network as far as its programs can tell, with
/// nothing in it but what the test puts there. It is gone with the object, and with the test.
///
/// Requires: !why_no_networks().
class NetworkSpace {
 public:
  NetworkSpace();
  ~NetworkSpace();
  NetworkSpace(const NetworkSpace&) = delete;
  NetworkSpace& operator=(const NetworkSpace&) = delete;

  /// A process in it: for nsenter, PostgresServer and Running.
  pid_t holder() const { return holder_; }
  /// A cable to `other`, with an address at each end, as 10.77.1.1/24.
  void connect(const std::string& device, const std::string& address, const NetworkSpace& other,
               const std::string& other_device, const std::string& other_address);
  /// Pulls out a cable at this end, or puts it back: what is sent meanwhile vanishes without a word
  /// to anybody.
  void set_link(const std::string& device, bool is_up);
  /// The peers' addresses of established TCP connections, one for each.
  std::vector<std::string> peers() const;

 private:
  void ip(std::vector<std::string> words) const;
  pid_t holder_ = -1;
};

}  // namespace ponder::e2e
