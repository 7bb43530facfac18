#include "base/async/task_group.h"

#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

#include "base/async/offload.h"
#include "base/async/with_deadline.h"

namespace ponder {
namespace {

namespace asio = boost::asio;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

asio::awaitable<void> sleep_until_cancelled(bool* was_cancelled) {
  asio::steady_timer timer(co_await asio::this_coro::executor, steady_clock::time_point::max());
  boost::system::error_code error;
  co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, error));
  *was_cancelled = error == asio::error::operation_aborted;
}

asio::awaitable<void> throw_later(std::string what) {
  co_await asio::post(asio::use_awaitable);
  throw std::runtime_error(what);
}

asio::awaitable<void> append_after(milliseconds delay, int value, std::vector<int>* out) {
  asio::steady_timer timer(co_await asio::this_coro::executor, delay);
  co_await timer.async_wait(asio::use_awaitable);
  out->push_back(value);
}

/// Runs the test's coroutine and everything that it starts; rethrows its error.
void run(std::function<asio::awaitable<void>(asio::io_context&)> body) {
  asio::io_context context;
  std::exception_ptr error;
  asio::co_spawn(context, body(context), [&error](std::exception_ptr e) { error = e; });
  context.run();
  if (error) std::rethrow_exception(error);
}

asio::awaitable<void> join_three(asio::io_context* context, std::vector<int>* out) {
  TaskGroup group(context->get_executor());
  group.spawn(append_after(milliseconds(6), 1, out));
  group.spawn(append_after(milliseconds(1), 2, out));
  group.spawn(append_after(milliseconds(3), 3, out));
  co_await group.join();
  out->push_back(4);
}

TEST(TaskGroup, JoinWaitsForAllChildrenHoweverLongEachTakes) {
  std::vector<int> out;
  run([&out](asio::io_context& context) { return join_three(&context, &out); });
  ASSERT_EQ(out.size(), 4U);
  EXPECT_EQ(out.back(), 4);
}

asio::awaitable<void> join_empty(asio::io_context* context, bool* ended) {
  TaskGroup group(context->get_executor());
  co_await group.join();
  *ended = true;
}

TEST(TaskGroup, JoiningAnEmptyGroupReturnsAtOnce) {
  bool ended = false;
  run([&ended](asio::io_context& context) { return join_empty(&context, &ended); });
  EXPECT_TRUE(ended);
}

asio::awaitable<void> fail_beside_a_sleeper(asio::io_context* context, bool* was_cancelled) {
  TaskGroup group(context->get_executor());
  group.spawn(sleep_until_cancelled(was_cancelled));
  group.spawn(throw_later("first"));
  co_await group.join();
}

TEST(TaskGroup, TheFirstChildToThrowCancelsItsSiblingsAndJoinRethrows) {
  bool was_cancelled = false;
  try {
    run([&](asio::io_context& context) { return fail_beside_a_sleeper(&context, &was_cancelled); });
    FAIL() << "join() did not rethrow";
  } catch (const std::runtime_error& e) {
    EXPECT_STREQ(e.what(), "first");
  }
  EXPECT_TRUE(was_cancelled);
}

asio::awaitable<void> cancel_then_spawn(asio::io_context* context, bool* joined) {
  bool ignored = false;  // a child that never began to wait throws operation_aborted instead
  TaskGroup group(context->get_executor());
  group.spawn(sleep_until_cancelled(&ignored));
  group.cancel();
  group.spawn(sleep_until_cancelled(&ignored));
  co_await group.join();
  *joined = true;
}

TEST(TaskGroup, CancelStopsChildrenThatHaveNotBegunAndThoseSpawnedLater) {
  bool joined = false;
  run([&](asio::io_context& context) { return cancel_then_spawn(&context, &joined); });
  EXPECT_TRUE(joined);
}

asio::awaitable<void> join_and_stay(asio::io_context* context, bool* was_cancelled, bool* ended) {
  co_await asio::this_coro::throw_if_cancelled(false);
  TaskGroup group(context->get_executor());
  group.spawn(sleep_until_cancelled(was_cancelled));
  co_await group.join();
  *ended = true;
}

asio::awaitable<void> cancel_the_joiner(asio::io_context* context, bool* was_cancelled,
                                        bool* ended) {
  TaskGroup outer(context->get_executor());
  outer.spawn(join_and_stay(context, was_cancelled, ended));
  asio::steady_timer timer(context->get_executor(), milliseconds(2));
  co_await timer.async_wait(asio::use_awaitable);
  outer.cancel();
  co_await outer.join();
}

TEST(TaskGroup, CancellingTheCoroutineThatJoinsCancelsTheChildrenAndStillWaitsForThem) {
  bool was_cancelled = false;
  bool ended = false;
  run([&](asio::io_context& context) {
    return cancel_the_joiner(&context, &was_cancelled, &ended);
  });
  EXPECT_TRUE(was_cancelled);
  EXPECT_TRUE(ended);
}

asio::awaitable<Result<int>> value_after(milliseconds delay, int value) {
  asio::steady_timer timer(co_await asio::this_coro::executor, delay);
  co_await timer.async_wait(asio::use_awaitable);
  co_return value;
}

asio::awaitable<Result<int>> value_at_once(int value) { co_return value; }

asio::awaitable<Result<int>> throwing_work() {
  co_await asio::post(asio::use_awaitable);
  throw std::runtime_error("boom");
}

asio::awaitable<void> store_outcome(asio::awaitable<Result<int>> work, milliseconds budget,
                                    std::unique_ptr<Result<int>>* out) {
  const Deadline deadline = Deadline::after(system_clock(), budget);
  Result<int> result = co_await with_deadline(std::move(work), deadline);
  *out = std::make_unique<Result<int>>(std::move(result));
}

Result<int> outcome_of(asio::awaitable<Result<int>> work, milliseconds budget) {
  std::unique_ptr<Result<int>> out;
  run([&](asio::io_context&) { return store_outcome(std::move(work), budget, &out); });
  return *out;
}

TEST(WithDeadline, WorkThatEndsInTimeGivesItsValueWithoutWaitingForTheDeadline) {
  const auto before = steady_clock::now();
  EXPECT_EQ(outcome_of(value_after(milliseconds(1), 7), milliseconds(60'000)).value(), 7);
  EXPECT_EQ(outcome_of(value_at_once(8), milliseconds(60'000)).value(), 8);
  EXPECT_LT(steady_clock::now() - before, milliseconds(30'000));
}

TEST(WithDeadline, WorkThatIsTooSlowIsCancelledAndGivesDeadline) {
  const auto result = outcome_of(value_after(milliseconds(60'000), 7), milliseconds(5));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Errc::deadline);
}

TEST(WithDeadline, AnExceptionBecomesAnInternalErrorWithItsText) {
  const auto result = outcome_of(throwing_work(), milliseconds(60'000));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Errc::internal);
  EXPECT_EQ(result.error().message, "boom");
}

asio::awaitable<void> offload_and_return(asio::thread_pool* pool, std::thread::id* worker,
                                         std::thread::id* home, int* value) {
  auto work = [worker] {
    *worker = std::this_thread::get_id();
    return 42;
  };
  *value = co_await offload(pool->get_executor(), work);
  *home = std::this_thread::get_id();
}

TEST(Offload, WorkRunsOnThePoolAndTheCoroutineGoesOnAtHome) {
  asio::thread_pool pool(1);
  std::thread::id worker;
  std::thread::id home;
  int value = 0;
  run([&](asio::io_context&) { return offload_and_return(&pool, &worker, &home, &value); });
  EXPECT_EQ(value, 42);
  EXPECT_EQ(home, std::this_thread::get_id());
  EXPECT_NE(worker, home);
}

asio::awaitable<void> offload_a_throw(asio::thread_pool* pool) {
  auto work = []() -> int { throw std::runtime_error("from the pool"); };
  const int value = co_await offload(pool->get_executor(), work);
  ADD_FAILURE() << "went on with " << value;
}

TEST(Offload, AnExceptionOfTheWorkIsThrownAtTheAwait) {
  asio::thread_pool pool(1);
  EXPECT_THROW(run([&](asio::io_context&) { return offload_a_throw(&pool); }), std::runtime_error);
}

}  // namespace
}  // namespace ponder
