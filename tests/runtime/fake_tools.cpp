#include "tests/runtime/fake_tools.h"

#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <stdexcept>
#include <utility>

namespace ponder::runtime::test {
namespace asio = boost::asio;
using tools::ToolOutput;

FakeTool::FakeTool(std::string name, tools::Effect effect, Work work,
                   std::vector<std::string>* journal, std::vector<std::string> capabilities)
    : effect_(effect),
      work_(std::move(work)),
      journal_(journal),
      capabilities_(std::move(capabilities)) {
  spec_.name = std::move(name);
  spec_.description = "a tool of the tests";
  spec_.parameters = R"({"type":"object","properties":{"x":{"type":"integer"}}})";
}

asio::awaitable<Result<ToolOutput>> FakeTool::invoke(std::string arguments,
                                                     tools::ToolContext context) {
  keys_.push_back(context.idempotency_key);
  journal_->push_back("begin " + spec_.name);
  auto work = work_(std::move(arguments));
  auto result = co_await std::move(work);
  journal_->push_back("end " + spec_.name);
  co_return result;
}

asio::awaitable<SaidValues> FakeTool::values(tools::ToolContext) {
  auto said = co_await knows();
  co_return said;
}

asio::awaitable<SaidValues> say(SaidValues values) {
  co_await asio::post(asio::use_awaitable);
  co_return values;
}

asio::awaitable<Result<ToolOutput>> echo(std::string arguments) {
  co_await asio::post(asio::use_awaitable);
  co_return ToolOutput("echo " + arguments, false);
}

asio::awaitable<Result<ToolOutput>> hang(std::string) {
  const auto executor = co_await asio::this_coro::executor;
  asio::steady_timer timer(executor, std::chrono::steady_clock::time_point::max());
  boost::system::error_code ignored;
  co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  co_return fail(Errc::cancelled, "stopped");
}

asio::awaitable<Result<ToolOutput>> throws(std::string) {
  co_await asio::post(asio::use_awaitable);
  throw std::runtime_error("the tool is broken");
}

asio::awaitable<Result<ToolOutput>> answer_after(std::chrono::milliseconds delay,
                                                 std::string answer, bool is_error) {
  const auto executor = co_await asio::this_coro::executor;
  asio::steady_timer timer(executor, delay);
  co_await timer.async_wait(asio::use_awaitable);
  co_return ToolOutput(std::move(answer), is_error);
}

asio::awaitable<Result<ToolOutput>> answer_when(std::function<bool()> has_come,
                                                std::string answer) {
  asio::steady_timer timer(co_await asio::this_coro::executor);
  while (!has_come()) {
    timer.expires_after(std::chrono::milliseconds(1));
    co_await timer.async_wait(asio::use_awaitable);
  }
  co_return ToolOutput(std::move(answer), false);
}

}  // namespace ponder::runtime::test
