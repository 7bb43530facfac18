#include "tests/crash/actors.h"

#include <fmt/format.h>
#include <unistd.h>

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <csignal>
#include <utility>

#include "base/assert.h"
#include "runtime/model/embedded_model.h"
#include "runtime/session/event_json.h"

namespace ponder::crash {
namespace {

namespace asio = boost::asio;
constexpr std::chrono::milliseconds kModelTime{2};
constexpr std::chrono::milliseconds kToolTime{1};
constexpr std::chrono::milliseconds kPersonTime{2};

}  // namespace

asio::awaitable<void> pass_time(std::chrono::milliseconds time) {
  const auto executor = co_await asio::this_coro::executor;
  asio::steady_timer timer(executor, time);
  boost::system::error_code ignored;
  co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
}

void write_line(int descriptor, const std::string& line) {
  std::size_t done = 0;
  while (done < line.size()) {
    const ssize_t count = ::write(descriptor, line.data() + done, line.size() - done);
    PONDER_ASSERT(count > 0);
    done += static_cast<std::size_t>(count);
  }
}

void Checkpoints::pass() {
  if (++passed_ == die_at_) ::raise(SIGKILL);
}

asio::awaitable<Status> LoggingTool::ask(tools::ToolContext context) {
  for (std::uint32_t n = 0; n < kQuestionsOfACall; ++n) {
    tools::Question question(fmt::format("{} person {}", context.idempotency_key, n));
    const auto answer = co_await context.services->ask(std::move(question));
    PONDER_CO_CHECK(answer);
    write_line(effects_, fmt::format("{} heard {} {}\n", context.idempotency_key, n, *answer));
  }
  co_return Status();
}

asio::awaitable<Result<tools::ToolOutput>> LoggingTool::invoke(std::string arguments,
                                                               tools::ToolContext context) {
  co_await pass_time(kToolTime);
  if (about_.asks) {
    const Status answered = co_await ask(context);
    PONDER_CO_CHECK(answered);
  }
  checkpoints_.pass();
  write_line(effects_, fmt::format("{} {} {}\n", context.idempotency_key, about_.name, arguments));
  PONDER_ASSERT(::fsync(effects_) == 0);
  checkpoints_.pass();
  co_await pass_time(kToolTime);
  co_return tools::ToolOutput(answer_of(about_.name, arguments), false);
}

asio::awaitable<Result<runtime::Completion>> FollowingModel::complete(runtime::ModelRequest request,
                                                                      runtime::ModelSink) {
  checkpoints_.pass();
  co_await pass_time(kModelTime);
  runtime::Completion completion = scripted_answer(request.conversation);
  const std::vector<context::TokenId> prompt = scripted_prompt(request);
  completion.prompt_hash = runtime::prompt_hash(prompt);
  completion.usage.tokens_prompt = static_cast<std::uint32_t>(prompt.size());
  checkpoints_.pass();
  co_return completion;
}

asio::awaitable<Result<std::string>> LoggingPerson::answer(runtime::PersonQuestion question) {
  checkpoints_.pass();
  write_line(effects_, fmt::format("{} {}\n", question.text, question.digest));
  co_await pass_time(kPersonTime);
  checkpoints_.pass();
  co_return fmt::format("{}-{}", ::getpid(), ++num_answers_);
}

void Acknowledger::on_event(const runtime::SessionId& session, const runtime::Record& record) {
  checkpoints_.pass();
  write_line(descriptor_, runtime::record_line(session, record) + "\n");
  checkpoints_.pass();
}

}  // namespace ponder::crash
