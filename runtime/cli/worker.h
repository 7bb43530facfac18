#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "runtime/agent/agent.h"
#include "runtime/cli/commands.h"
#include "runtime/cli/live_view.h"
#include "runtime/session/session_store.h"
#include "runtime/workflow/toolset.h"
#include "runtime/workflow/workflow.h"

namespace ponder::cli {

/// Takes sessions from a shared store's queue and brings each to its end.
///
/// What goes wrong with one session, an exception included, is that session's alone: it stays in
/// the queue, is left to others for a while, and the rest go on.
///
/// Thread: that of the io_context that runs it. Lifetime: what it is given outlives it.
class Worker {
 public:
  /// Requires: `store` has a queue.
  Worker(const Environment& environment, const WorkOptions& options, std::filesystem::path library,
         runtime::ToolsetOptions toolset, runtime::SessionStore& store,
         boost::asio::io_context& io);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  /// Until stop(), or with --drain until the queue has nothing that this program could go on with.
  /// The exit status.
  boost::asio::awaitable<int> run();
  /// Takes no more; run() ends when the turns that are under way have ended. Verdicts, which may
  /// run a project's tests for minutes, are stopped or not begun: their sessions stay in the queue.
  void stop();

 private:
  struct Opened {
    std::unique_ptr<runtime::Workflow> workflow;
    std::unique_ptr<runtime::Agent> agent;  // before its workflow
  };

  /// Until something may have changed.
  boost::asio::awaitable<void> wait();
  boost::asio::awaitable<std::optional<runtime::SessionId>> take();
  /// The sessions that are left to others until a time that has not come.
  std::vector<runtime::SessionId> left_now();
  /// Whether nothing is in the queue but what this program cannot read.
  boost::asio::awaitable<bool> is_empty();
  boost::asio::awaitable<void> work_on(runtime::SessionId id);
  /// Leaves the session to others, for a while or for good, with a word in the queue.
  boost::asio::awaitable<void> leave(runtime::SessionId id, Error why);
  /// The session's exit status. What failed stays in the queue, for it may work later, on another
  /// machine, or with another ponder.
  boost::asio::awaitable<Result<int>> finish(runtime::SessionId id);
  Result<Opened> open(const runtime::SessionId& id);
  /// The same, without a lease where it fails.
  Result<Opened> open_or_release(const runtime::SessionId& id);
  /// The model of --model or PONDER_MODEL, else the one that the session's log names.
  Result<runtime::ModelClient*> model_for(const std::string& logged);
  boost::asio::awaitable<void> remove(runtime::SessionId id);
  void say(const std::string& who, const std::string& what) const;

  const Environment* environment_;
  const WorkOptions* options_;
  std::filesystem::path library_;
  runtime::ToolsetOptions toolset_;
  runtime::SessionStore* store_;
  boost::asio::steady_timer wake_;
  std::map<std::string, std::unique_ptr<runtime::ModelClient>> models_;  // by the log's name
  JsonView json_;
  std::map<std::string, Clock::Instant> left_until_;  // by session
  std::set<std::string> unreadable_;                  // sessions that this program never can open
  std::uint32_t active_ = 0;
  bool is_stopping_ = false;
  std::stop_source verdicts_stop_;
  // Last: they end before what they use.
  boost::asio::thread_pool asking_{1};   // where the queue is waited for
  boost::asio::thread_pool opening_{1};  // where sessions are opened, one at a time; uses models_
};

}  // namespace ponder::cli
