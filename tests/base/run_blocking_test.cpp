#include "base/async/run_blocking.h"

#include <gtest/gtest.h>

#include <atomic>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <stdexcept>
#include <thread>

namespace ponder {
namespace {

namespace asio = boost::asio;

asio::awaitable<Result<int>> answer() { co_return 42; }

asio::awaitable<Result<int>> throw_something() {
  throw std::runtime_error("thrown");
  co_return 0;
}

/// Waits until it is cancelled, then cleans up.
asio::awaitable<Result<int>> hang(std::atomic<bool>* has_begun, bool* has_cleaned_up) {
  co_await asio::this_coro::throw_if_cancelled(false);
  const auto executor = co_await asio::this_coro::executor;
  asio::steady_timer never(executor, asio::steady_timer::time_point::max());
  *has_begun = true;
  boost::system::error_code error;
  co_await never.async_wait(asio::redirect_error(asio::use_awaitable, error));
  *has_cleaned_up = true;
  co_return fail(Errc::cancelled, "stopped");
}

TEST(RunBlocking, GivesTheValueOrWhatWasThrown) {
  EXPECT_EQ(run_blocking(answer()).value(), 42);
  const auto thrown = run_blocking(throw_something());
  ASSERT_FALSE(thrown);
  EXPECT_EQ(thrown.error().code, Errc::internal);
  EXPECT_EQ(thrown.error().message, "thrown");
}

TEST(RunBlocking, AStopRequestOfAnotherThreadCancelsAndTheEndIsWaitedFor) {
  std::stop_source stop;
  std::atomic<bool> has_begun = false;
  bool has_cleaned_up = false;
  std::thread other([&] {
    while (!has_begun) std::this_thread::yield();
    stop.request_stop();
  });
  const auto result = run_blocking(hang(&has_begun, &has_cleaned_up), stop.get_token());
  other.join();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Errc::cancelled);
  EXPECT_TRUE(has_cleaned_up);
}

TEST(RunBlocking, AStopRequestThatCameBeforeIsNotLost) {
  std::stop_source stop;
  stop.request_stop();
  std::atomic<bool> has_begun = false;
  bool has_cleaned_up = false;
  const auto result = run_blocking(hang(&has_begun, &has_cleaned_up), stop.get_token());
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Errc::cancelled);
}

TEST(RunBlocking, AStopRequestAfterTheEndChangesNothing) {
  std::stop_source stop;
  EXPECT_EQ(run_blocking(answer(), stop.get_token()).value(), 42);
  stop.request_stop();
}

}  // namespace
}  // namespace ponder
