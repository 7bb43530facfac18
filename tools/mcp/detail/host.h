#pragma once

#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <deque>
#include <future>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "base/async/task_group.h"
#include "tools/mcp/detail/mailbox.h"
#include "tools/mcp/detail/server.h"
#include "tools/mcp/mcp_options.h"
#include "tools/mcp/mcp_tools.h"

namespace ponder::mcp {

/// The answer to a server's question, given once; "cancel" when nobody gave one.
class Reply {
 public:
  explicit Reply(std::shared_ptr<Mailbox<Json>::Slot> slot) : slot_(std::move(slot)) {}
  Reply(Reply&&) noexcept = default;
  Reply& operator=(Reply&& other) noexcept {
    std::swap(slot_, other.slot_);
    return *this;
  }
  ~Reply() {
    if (slot_ != nullptr) give({{"action", "cancel"}});
  }
  void give(Json result) { std::exchange(slot_, nullptr)->put(std::move(result)); }

 private:
  std::shared_ptr<Mailbox<Json>::Slot> slot_;  // the asking coroutine's mailbox
};

/// What happens during a call, for the session that made it.
struct CallProgress {
  std::string text;
  std::optional<double> share;
};
struct CallLog {
  std::string line;
};
struct CallQuestion {
  Json params;
  Reply reply;
};
struct CallDone {
  Result<tools::ToolOutput> output;
};
using CallEvent = std::variant<CallProgress, CallLog, CallQuestion, CallDone>;
using CallEvents = Mailbox<CallEvent>;

/// The servers of one set of tools, on a thread of their own: no flood of theirs holds up a
/// session, and a session may end at any time without waiting for them.
///
/// Thread: any, but for what is said otherwise. Lifetime: shared by the tools of its servers; the
/// last of them ends the servers, which takes bounded time.
class Host {
 public:
  Host();
  ~Host();
  Host(const Host&) = delete;
  Host& operator=(const Host&) = delete;

  /// Starts the servers, all at once, and waits for them. Each has its Status. Once.
  std::vector<Status> start(const Options& options, const Waiting& waiting);
  /// What start() found of a server; it does not change. Requires: no call is under way.
  const Server& server(std::size_t index) const { return *servers_[index]; }
  std::size_t num_servers() const { return servers_.size(); }

  struct Call {
    Call() = default;
    std::size_t server = 0;
    Action action;
    std::string arguments;  // JSON
    bool can_be_asked = false;
  };
  /// Begins a call; what happens goes to `events`, last CallDone. The number is for cancel().
  std::uint64_t begin(Call call, std::shared_ptr<CallEvents::Slot> events);
  /// Stops a call, if it is still under way, and tells the server. Returns at once.
  void cancel(std::uint64_t call);

 private:
  boost::asio::awaitable<void> run(std::uint64_t id, Call call,
                                   std::shared_ptr<CallEvents::Slot> events);
  boost::asio::awaitable<Result<tools::ToolOutput>> perform(
      Call call, std::shared_ptr<CallEvents::Slot> events);
  /// What became of a server; whoever waits looks at it before all have ended.
  struct Start {
    Status status;
    std::atomic<bool> has_ended = false;
  };
  boost::asio::awaitable<void> start_one(std::size_t index, Start* out);
  boost::asio::awaitable<void> start_all(std::deque<Start>* out);
  boost::asio::awaitable<void> close_all();
  /// Begins work on the thread; the future tells its end.
  std::future<void> begin_work(boost::asio::awaitable<void> work);

  boost::asio::io_context io_{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_;
  std::vector<std::unique_ptr<Server>> servers_;
  std::map<std::uint64_t, TaskGroup::ChildId> running_;  // the thread's
  TaskGroup calls_;
  std::atomic<std::uint64_t> next_call_ = 1;
  std::thread thread_;
};

}  // namespace ponder::mcp
