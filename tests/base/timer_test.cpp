#include "base/async/timer.h"

#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/this_coro.hpp>
#include <chrono>
#include <optional>
#include <vector>

#include "base/async/with_deadline.h"

namespace ponder {
namespace {

namespace asio = boost::asio;
using std::chrono::hours;

const Clock::Instant kNoon = Clock::Instant(hours(12));

/// A context whose time stands still until the test moves it.
class ManualTimeTest : public ::testing::Test {
 protected:
  asio::awaitable<void> wait_when_cancelled() {
    co_await asio::this_coro::throw_if_cancelled(false);
    co_await wait_until(kNoon, 1);
    co_await wait_until(kNoon, 2);
  }
  asio::awaitable<void> wait_until(Clock::Instant at, int name) {
    Timer timer(context_.get_executor(), at);
    const bool has_come = co_await timer.wait();
    ended_.push_back(has_come ? name : -name);
  }
  void spawn(Clock::Instant at, int name) { group_.spawn(wait_until(at, name)); }
  void run() {
    context_.restart();
    context_.poll();
  }

  asio::io_context context_;
  ManualTime& time_ = asio::make_service<ManualTime>(context_);
  TaskGroup group_{context_.get_executor()};
  std::vector<int> ended_;
};

TEST_F(ManualTimeTest, ATimerRingsWhenItsInstantComesAndNotBefore) {
  spawn(kNoon, 1);
  run();
  EXPECT_EQ(time_.next(), kNoon);
  EXPECT_FALSE(time_.ring_one(kNoon - hours(1)));
  run();
  EXPECT_TRUE(ended_.empty());
  EXPECT_TRUE(time_.ring_one(kNoon));
  run();
  EXPECT_EQ(ended_, std::vector<int>{1});
  EXPECT_EQ(time_.next(), std::nullopt);
}

TEST_F(ManualTimeTest, TimersRingByInstantAndThenInOrderOfMaking) {
  spawn(kNoon, 2);
  spawn(kNoon, 3);
  spawn(kNoon - hours(1), 1);
  run();
  while (time_.ring_one(kNoon)) run();
  EXPECT_EQ(ended_, (std::vector<int>{1, 2, 3}));
}

TEST_F(ManualTimeTest, ACancelledWaitEndsWithoutTheInstantAndLeavesNoTimer) {
  spawn(kNoon, 1);
  spawn(Clock::Instant::max(), 2);
  run();
  EXPECT_EQ(time_.num_timers(), 1u);
  group_.cancel();
  run();
  EXPECT_EQ(ended_, (std::vector<int>{-1, -2}));
  EXPECT_EQ(time_.num_timers(), 0u);
}

TEST_F(ManualTimeTest, ACancelledCoroutineWaitsForNothingMore) {
  group_.spawn(wait_when_cancelled());
  run();
  group_.cancel();
  run();
  EXPECT_EQ(ended_, (std::vector<int>{-1, -2}));
}

asio::awaitable<Result<int>> wait_for_ever(asio::any_io_executor executor) {
  Timer timer(executor, Clock::Instant::max());
  const bool has_come = co_await timer.wait();
  if (!has_come) co_return fail(Errc::cancelled, "stopped");
  co_return 1;
}

TEST_F(ManualTimeTest, ADeadlinePassesWhenTheContextsTimeReachesIt) {
  std::optional<Result<int>> result;
  asio::co_spawn(context_,
                 with_deadline(wait_for_ever(context_.get_executor()), Deadline(kNoon)),
                 [&](std::exception_ptr, Result<int> value) { result = std::move(value); });
  run();
  EXPECT_FALSE(result.has_value());
  EXPECT_TRUE(time_.ring_one(kNoon));
  run();
  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(result->error().code, Errc::deadline);
}

TEST_F(ManualTimeTest, AnAlarmRingsAtItsInstantUnlessItHasGone) {
  int rung = 0;
  const auto executor = context_.get_executor();
  std::optional<Alarm> in_time(std::in_place, executor, kNoon, [&] { ++rung; });
  std::optional<Alarm> gone(std::in_place, executor, kNoon, [&] { rung += 10; });
  std::optional<Alarm> gone_as_it_rings(std::in_place, executor, kNoon, [&] { rung += 100; });
  const Alarm never(executor, Clock::Instant::max(), [&] { rung += 1000; });
  run();
  gone.reset();
  EXPECT_TRUE(time_.ring_one(kNoon));
  EXPECT_TRUE(time_.ring_one(kNoon));
  EXPECT_FALSE(time_.ring_one(kNoon));
  gone_as_it_rings.reset();
  run();
  EXPECT_EQ(rung, 1);
}

TEST(Timer, WithoutManualTimeTheMachinesClockRingsAnAlarm) {
  asio::io_context context;
  bool has_rung = false;
  const Alarm alarm(context.get_executor(), system_clock().now(), [&] { has_rung = true; });
  EXPECT_FALSE(has_rung);
  context.run();
  EXPECT_TRUE(has_rung);
}

TEST_F(ManualTimeTest, ADeadlineThatIsMovedPassesWhereItWasMovedTo) {
  std::optional<Result<int>> result;
  DeadlineMover mover;
  mover.move_to(Deadline(kNoon));  // nobody waits
  asio::co_spawn(context_,
                 with_deadline(wait_for_ever(context_.get_executor()), Deadline(kNoon), &mover),
                 [&](std::exception_ptr, Result<int> value) { result = std::move(value); });
  run();
  mover.move_to(Deadline::never());
  run();
  EXPECT_EQ(time_.num_timers(), 0u);
  mover.move_to(Deadline(kNoon + hours(2)));
  run();
  EXPECT_EQ(time_.next(), kNoon + hours(2));
  mover.move_to(Deadline(kNoon + hours(1)));
  run();
  EXPECT_FALSE(time_.ring_one(kNoon));
  EXPECT_FALSE(result.has_value());
  EXPECT_TRUE(time_.ring_one(kNoon + hours(1)));
  run();
  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(result->error().code, Errc::deadline);
  mover.move_to(Deadline(kNoon));  // nobody waits any more
}

TEST_F(ManualTimeTest, ADeadlineThatIsMovedAsItRingsDoesNotPass) {
  std::optional<Result<int>> result;
  DeadlineMover mover;
  asio::co_spawn(context_,
                 with_deadline(wait_for_ever(context_.get_executor()), Deadline(kNoon), &mover),
                 [&](std::exception_ptr, Result<int> value) { result = std::move(value); });
  run();
  EXPECT_TRUE(time_.ring_one(kNoon));
  mover.move_to(Deadline(kNoon + hours(1)));
  run();
  EXPECT_FALSE(result.has_value());
  EXPECT_TRUE(time_.ring_one(kNoon + hours(1)));
  run();
  EXPECT_TRUE(result.has_value());
}

TEST(Timer, WithoutManualTimeTheMachinesClockRingsIt) {
  asio::io_context context;
  bool has_come = false;
  Timer timer(context.get_executor(), system_clock().now() + std::chrono::milliseconds(1));
  asio::co_spawn(context, timer.wait(), [&](std::exception_ptr, bool value) { has_come = value; });
  context.run();
  EXPECT_TRUE(has_come);
}

}  // namespace
}  // namespace ponder
