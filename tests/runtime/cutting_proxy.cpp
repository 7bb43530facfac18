#include "tests/runtime/cutting_proxy.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <vector>

#include "base/assert.h"

namespace ponder::runtime::test {
namespace {

sockaddr_un address_of(const std::filesystem::path& path) {
  sockaddr_un out{};
  out.sun_family = AF_UNIX;
  const std::string name = path.string();
  PONDER_ASSERT(name.size() < sizeof out.sun_path);
  std::memcpy(out.sun_path, name.c_str(), name.size() + 1);
  return out;
}

int make_socket() {
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  PONDER_ASSERT(fd >= 0);
  return fd;
}

/// Everything that can be read at once, to the other side.
bool copy(int from, int to) {
  std::array<char, 65536> buffer;
  const ssize_t count = read(from, buffer.data(), buffer.size());
  if (count <= 0) return false;
  ssize_t done = 0;
  while (done < count) {
    const auto left = static_cast<std::size_t>(count - done);
    const ssize_t sent = send(to, buffer.data() + done, left, MSG_NOSIGNAL);
    if (sent <= 0) return false;
    done += sent;
  }
  return true;
}

}  // namespace

CuttingProxy::CuttingProxy(const std::filesystem::path& front, const std::filesystem::path& server)
    : server_(server), listener_(make_socket()) {
  PONDER_ASSERT(pipe2(wake_, O_CLOEXEC) == 0);
  const sockaddr_un address = address_of(front);
  PONDER_ASSERT(bind(listener_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  PONDER_ASSERT(listen(listener_, 16) == 0);
  thread_ = std::thread([this] { run(); });
}

CuttingProxy::~CuttingProxy() {
  close(wake_[1]);
  thread_.join();
  close(wake_[0]);
  close(listener_);
  for (const Pair& pair : pairs_) {
    close(pair.client);
    close(pair.server);
  }
}

void CuttingProxy::run() {
  while (true) {
    std::vector<pollfd> waits = {{wake_[0], POLLIN, 0}, {listener_, POLLIN, 0}};
    for (const Pair& pair : pairs_) {
      waits.push_back({pair.client, POLLIN, 0});
      waits.push_back({pair.server, POLLIN, 0});
    }
    poll(waits.data(), waits.size(), -1);
    if (waits[0].revents != 0) return;
    std::size_t at = 2;
    for (auto pair = pairs_.begin(); pair != pairs_.end(); at += 2) {
      const bool goes_on = pass(*pair, waits[at].revents != 0, waits[at + 1].revents != 0);
      if (goes_on) {
        ++pair;
        continue;
      }
      close(pair->client);
      close(pair->server);
      pair = pairs_.erase(pair);
    }
    if (waits[1].revents != 0) accept_one();
  }
}

void CuttingProxy::accept_one() {
  const int client = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
  PONDER_ASSERT(client >= 0);
  const int server = make_socket();
  const sockaddr_un address = address_of(server_);
  const bool is_connected =
      connect(server, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  if (is_connected) {
    pairs_.push_back({client, server});
  } else {
    close(client);
    close(server);
  }
}

bool CuttingProxy::pass(Pair& pair, bool from_client, bool from_server) {
  if (from_client && !copy(pair.client, pair.server)) return false;
  if (!from_server) return true;
  if (loses_next_.exchange(false)) {
    ++lost_;
    return false;
  }
  return copy(pair.server, pair.client);
}

}  // namespace ponder::runtime::test
