#include "tools/mcp/detail/mcp_tool.h"

#include <fmt/format.h>

#include <boost/asio/this_coro.hpp>

#include "base/async/with_deadline.h"
#include "tools/mcp/detail/elicitation.h"
#include "tools/registry.h"

namespace ponder::mcp {
namespace {

namespace asio = boost::asio;
using tools::ToolContext;
using tools::ToolOutput;

/// Stops a call that its session does not wait for any more.
class CallGuard {
 public:
  CallGuard(Host& host, std::uint64_t call) : host_(&host), call_(call) {}
  ~CallGuard() { host_->cancel(call_); }
  CallGuard(const CallGuard&) = delete;
  CallGuard& operator=(const CallGuard&) = delete;

 private:
  Host* host_;
  std::uint64_t call_;
};

asio::awaitable<Result<CallEvent>> next_event(CallEvents* events) {
  co_await asio::this_coro::throw_if_cancelled(false);
  std::optional<CallEvent> event = co_await events->take();
  if (!event) co_return fail(Errc::cancelled, "the call was cancelled");
  co_return std::move(*event);
}

/// The session's side of one call.
class CallWatch {
 public:
  CallWatch(const McpToolCard& card, const ToolContext& context, asio::any_io_executor executor)
      : card_(&card), context_(&context), budget_(card.call_ms_max), events_(std::move(executor)) {}

  CallEvents& events() { return events_; }

  asio::awaitable<Result<ToolOutput>> wait() {
    while (true) {
      const auto began_at = context_->clock->now();
      const Deadline own = Deadline::after(*context_->clock, budget_);
      const Deadline deadline = Deadline::earlier(own, context_->deadline);
      auto waiting = next_event(&events_);
      auto event = co_await with_deadline(std::move(waiting), deadline);
      const auto waited = context_->clock->now() - began_at;
      budget_ -= std::chrono::duration_cast<std::chrono::milliseconds>(waited);
      if (!event && event.error().code == Errc::deadline && !is_over()) {
        co_return tools::error_output(
            fmt::format("server '{}': no answer within {} ms; the call "
                        "was cancelled, and may have had effects",
                        card_->server_name, card_->call_ms_max.count()));
      }
      if (!event) co_return tl::unexpected<Error>(event.error());
      if (auto* done = std::get_if<CallDone>(&*event)) co_return finish(std::move(done->output));
      co_await attend(std::move(*event));
    }
  }

 private:
  bool is_over() const { return context_->deadline.passed(*context_->clock); }
  Result<ToolOutput> finish(Result<ToolOutput> output) const {
    if (!output) return output;
    return tools::cap_output(std::move(*output), context_->output_kept_max);
  }
  asio::awaitable<void> attend(CallEvent event) {
    tools::CallServices* services = context_->services;
    if (auto* question = std::get_if<CallQuestion>(&event)) {
      Json result = co_await elicit(services, card_->server_name, std::move(question->params));
      question->reply.give(std::move(result));
    } else if (auto* progress = std::get_if<CallProgress>(&event)) {
      if (services != nullptr) services->progress(progress->text, progress->share);
    } else if (auto* log = std::get_if<CallLog>(&event)) {
      if (services == nullptr) co_return;
      tools::Note note("log", fmt::format("{}: {}", card_->server_name, log->line));
      const Status ignored = co_await services->note(std::move(note));
      (void)ignored;  // a log that is full does not stop a call
    }
  }
  const McpToolCard* card_;
  const ToolContext* context_;
  std::chrono::milliseconds budget_;
  CallEvents events_;
};

}  // namespace

McpTool::McpTool(McpToolCard card, std::shared_ptr<Host> host)
    : card_(std::move(card)), host_(std::move(host)), capabilities_({kCapability}) {}

asio::awaitable<Result<ToolOutput>> McpTool::invoke(std::string arguments, ToolContext context) {
  const auto executor = co_await asio::this_coro::executor;
  const auto cancellation = co_await asio::this_coro::cancellation_state;
  if (cancellation.cancelled() != asio::cancellation_type::none) {
    co_return fail(Errc::cancelled, "cancelled before it began");
  }
  CallWatch watch(card_, context, executor);
  Host::Call call;
  call.server = card_.server;
  call.action = card_.action;
  call.arguments = std::move(arguments);
  call.can_be_asked = context.services != nullptr;
  const std::uint64_t id = host_->begin(std::move(call), watch.events().slot());
  const CallGuard guard(*host_, id);
  auto output = co_await watch.wait();
  co_return output;
}

}  // namespace ponder::mcp
