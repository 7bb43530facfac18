#pragma once

#include <atomic>
#include <filesystem>
#include <list>
#include <thread>

namespace ponder::runtime::test {

/// Between programs and a server's socket: passes everything on, until it is told to lose the next
/// answer. Then it breaks the connection at the moment when that has come from the server: the
/// server has done what it was asked, and the program does not know.
class CuttingProxy {
 public:
  /// Listens at the socket `front`, and connects to `server` for each who comes.
  CuttingProxy(const std::filesystem::path& front, const std::filesystem::path& server);
  ~CuttingProxy();
  CuttingProxy(const CuttingProxy&) = delete;
  CuttingProxy& operator=(const CuttingProxy&) = delete;

  void lose_next_answer() { loses_next_ = true; }
  int lost() const { return lost_; }

 private:
  struct Pair {
    int client;
    int server;
  };
  void run();
  void accept_one();
  /// Moves what has come; false when the connection is over.
  bool pass(Pair& pair, bool from_client, bool from_server);

  std::filesystem::path server_;
  int listener_ = -1;
  int wake_[2] = {-1, -1};  // a pipe: closing its end stops the thread
  std::list<Pair> pairs_;
  std::atomic<bool> loses_next_ = false;
  std::atomic<int> lost_ = 0;
  std::thread thread_;  // last
};

}  // namespace ponder::runtime::test
