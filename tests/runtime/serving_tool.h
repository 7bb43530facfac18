#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "runtime/agent/question.h"
#include "tools/tool.h"

namespace ponder::runtime::test {

/// A tool whose work has what a session does for it.
class ServingTool final : public tools::Tool {
 public:
  using Work = std::function<boost::asio::awaitable<Result<tools::ToolOutput>>(tools::ToolContext)>;

  ServingTool(std::string name, tools::Effect effect, Work work, std::uint32_t concurrency_max = 0)
      : effect_(effect), work_(std::move(work)), concurrency_max_(concurrency_max) {
    spec_.name = std::move(name);
    spec_.description = "a tool of the tests";
    spec_.parameters = R"({"type":"object"})";
  }
  const context::ToolSpec& spec() const override { return spec_; }
  tools::Effect effect() const override { return effect_; }
  const std::vector<std::string>& capabilities() const override { return none_; }
  std::uint32_t concurrency_max() const override { return concurrency_max_; }
  boost::asio::awaitable<Result<tools::ToolOutput>> invoke(std::string,
                                                           tools::ToolContext context) override {
    auto work = work_(std::move(context));
    auto output = co_await std::move(work);
    co_return output;
  }

 private:
  context::ToolSpec spec_;
  tools::Effect effect_;
  Work work_;
  std::uint32_t concurrency_max_;
  std::vector<std::string> none_;
};

/// A person who gives one answer to each question; without one, never.
class AnsweringPerson final : public Respondent {
 public:
  boost::asio::awaitable<Result<std::string>> answer(PersonQuestion question) override {
    questions.push_back(std::move(question));
    if (meanwhile) meanwhile();
    co_await boost::asio::this_coro::throw_if_cancelled(false);
    if (words) co_return *words;
    const auto executor = co_await boost::asio::this_coro::executor;
    boost::asio::steady_timer never(executor, boost::asio::steady_timer::time_point::max());
    boost::system::error_code ignored;
    co_await never.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, ignored));
    co_return fail(Errc::cancelled, "withdrawn");
  }
  std::optional<Result<std::string>> words;
  std::function<void()> meanwhile;  // while the question is open
  std::vector<PersonQuestion> questions;
};

/// Output of a tool that got this.
inline tools::ToolOutput output_of(const Result<std::string>& got) {
  if (got) return tools::ToolOutput("got " + *got, false);
  return tools::ToolOutput(std::string(errc_name(got.error().code)) + ": " + got.error().message,
                           true);
}

/// Asks "who?" and says what it got.
inline boost::asio::awaitable<Result<tools::ToolOutput>> ask_who(tools::ToolContext context) {
  tools::Question question("who?");
  auto got = co_await context.services->ask(std::move(question));
  co_return output_of(got);
}

}  // namespace ponder::runtime::test
