#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace ponder::runtime::test {

/// What the server does with one connection: writes these pieces one after the other, each as a
/// packet of its own, and then hangs up or keeps silent.
struct Exchange {
  std::vector<std::string> pieces;
  bool stays_open = false;  // until the client goes away
};

/// An HTTP server on a loopback socket, in a thread of its own, with real TCP (or TLS) between it
/// and the client. It answers the n-th connection with the n-th exchange and keeps each request.
class FakeServer {
 public:
  explicit FakeServer(std::vector<Exchange> exchanges, const std::string& certificate_pem = "",
                      const std::string& key_pem = "");
  ~FakeServer();
  FakeServer(const FakeServer&) = delete;
  FakeServer& operator=(const FakeServer&) = delete;

  std::uint16_t port() const { return port_; }
  /// The requests so far, head and body as they came.
  std::vector<std::string> requests() const;
  /// Waits until the client of the last exchange has gone; true when it did.
  bool client_left() const { return client_left_; }

 private:
  template <class Stream>
  void serve(Stream& stream, const Exchange& exchange);
  void run(std::string certificate_pem, std::string key_pem);

  std::vector<Exchange> exchanges_;
  int listener_ = -1;
  std::uint16_t port_ = 0;
  mutable std::mutex mutex_;
  std::vector<std::string> requests_;  // under mutex_
  std::atomic<bool> client_left_ = false;
  std::thread thread_;
};

/// A 200 with a server-sent-event stream; the body is cut where the vector says.
std::vector<std::string> event_stream(const std::vector<std::string>& body_pieces);
/// A whole answer with a status line such as "429 Too Many Requests".
std::vector<std::string> whole_answer(const std::string& status, const std::string& headers,
                                      const std::string& body);

/// A self-signed certificate for `host` and its key, both PEM.
struct Certificate {
  std::string certificate_pem;
  std::string key_pem;
};
Certificate make_certificate(const std::string& host);

}  // namespace ponder::runtime::test
