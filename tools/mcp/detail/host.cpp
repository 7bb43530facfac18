#include "tools/mcp/detail/host.h"

#include <atomic>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <future>

#include "base/async/with_deadline.h"

namespace ponder::mcp {
namespace {

namespace asio = boost::asio;

constexpr int kLogLinesMax = 50;  // of one call

/// A call's way to its session.
class RemoteCaller final : public Caller {
 public:
  RemoteCaller(std::shared_ptr<CallEvents::Slot> events, bool can_be_asked,
               asio::any_io_executor executor)
      : events_(std::move(events)), can_be_asked_(can_be_asked), executor_(std::move(executor)) {}

  void on_progress(std::string text, std::optional<double> share) override {
    // Only the latest counts: a flood of them takes no room.
    const auto is_progress = [](const CallEvent& last) {
      return std::holds_alternative<CallProgress>(last);
    };
    events_->put_or_replace(CallProgress{std::move(text), share}, is_progress);
  }
  void on_log(std::string line) override {
    if (++log_lines_ > kLogLinesMax) return;
    if (log_lines_ == kLogLinesMax) line = "(more lines are not kept)";
    events_->put(CallLog{std::move(line)});
  }
  bool can_be_asked() const override { return can_be_asked_; }
  asio::awaitable<Json> elicit(Json params) override {
    Mailbox<Json> answers(executor_);
    events_->put(CallQuestion{std::move(params), Reply(answers.slot())});
    std::optional<Json> answer = co_await answers.take();
    if (answer) co_return std::move(*answer);
    co_return Json({{"action", "cancel"}});
  }

 private:
  std::shared_ptr<CallEvents::Slot> events_;  // the call's mailbox is the session's
  bool can_be_asked_;
  asio::any_io_executor executor_;
  int log_lines_ = 0;
};

}  // namespace

Host::Host()
    : work_(asio::make_work_guard(io_)),
      calls_(io_.get_executor()),
      thread_([this] { io_.run(); }) {}

Host::~Host() {
  begin_work(close_all()).get();
  work_.reset();
  thread_.join();
}

std::future<void> Host::begin_work(asio::awaitable<void> work) {
  std::promise<void> done;
  std::future<void> end = done.get_future();
  asio::co_spawn(io_, std::move(work),
                 [done = std::move(done)](const std::exception_ptr& error) mutable {
                   if (error) {
                     done.set_exception(error);
                   } else {
                     done.set_value();
                   }
                 });
  return end;
}

std::vector<Status> Host::start(const Options& options, const Waiting& waiting) {
  for (const ServerOptions& server : options.servers) {
    servers_.push_back(std::make_unique<Server>(server, options, io_.get_executor()));
  }
  std::deque<Start> starts(servers_.size());
  std::future<void> end = begin_work(start_all(&starts));
  if (waiting.tell && end.wait_for(waiting.told_after) == std::future_status::timeout) {
    for (std::size_t i = 0; i < servers_.size(); ++i) {
      if (!starts[i].has_ended) waiting.tell(servers_[i]->options().name);
    }
  }
  end.get();
  std::vector<Status> out;
  out.reserve(starts.size());
  for (Start& start : starts) out.push_back(std::move(start.status));
  return out;
}

asio::awaitable<void> Host::start_all(std::deque<Start>* out) {
  TaskGroup starting(io_.get_executor());
  for (std::size_t i = 0; i < servers_.size(); ++i) starting.spawn(start_one(i, &(*out)[i]));
  co_await starting.join();
}

asio::awaitable<void> Host::start_one(std::size_t index, Start* out) {
  co_await asio::this_coro::throw_if_cancelled(false);
  Status started = co_await servers_[index]->start();
  out->status = std::move(started);
  out->has_ended = true;
}

asio::awaitable<void> Host::close_all() {
  calls_.cancel();
  co_await calls_.join();
  TaskGroup closing(io_.get_executor());
  for (const auto& server : servers_) closing.spawn(server->close());
  co_await closing.join();
}

std::uint64_t Host::begin(Call call, std::shared_ptr<CallEvents::Slot> events) {
  const std::uint64_t id = next_call_++;
  asio::post(io_, [this, id, call = std::move(call), events = std::move(events)]() mutable {
    running_[id] = calls_.spawn(run(id, std::move(call), std::move(events)));
  });
  return id;
}

void Host::cancel(std::uint64_t call) {
  asio::post(io_, [this, call] {
    const auto it = running_.find(call);
    if (it != running_.end()) calls_.cancel(it->second);
  });
}

asio::awaitable<void> Host::run(std::uint64_t id, Call call,
                                std::shared_ptr<CallEvents::Slot> events) {
  co_await asio::this_coro::throw_if_cancelled(false);
  co_await asio::post(io_, asio::use_awaitable);  // begin() writes down the child first
  auto work = perform(std::move(call), events);
  auto output = co_await with_deadline(std::move(work), Deadline::never());
  events->put(CallDone{std::move(output)});
  running_.erase(id);
}

asio::awaitable<Result<tools::ToolOutput>> Host::perform(Call call,
                                                         std::shared_ptr<CallEvents::Slot> events) {
  co_await asio::this_coro::throw_if_cancelled(false);
  auto arguments = parse_json(call.arguments);
  if (!arguments) co_return tl::unexpected<Error>(arguments.error());
  auto caller =
      std::make_shared<RemoteCaller>(std::move(events), call.can_be_asked, io_.get_executor());
  auto output = co_await servers_[call.server]->run(std::move(call.action), std::move(*arguments),
                                                    std::move(caller));
  co_return output;
}

}  // namespace ponder::mcp
