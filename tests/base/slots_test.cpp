#include "base/async/slots.h"

#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <string>
#include <vector>

#include "base/async/task_group.h"

namespace ponder {
namespace {

namespace asio = boost::asio;

/// Waits for a place, keeps it while other handlers run, and says so.
asio::awaitable<void> visit(Slots* slots, char name, std::string* journal) {
  co_await asio::this_coro::throw_if_cancelled(false);
  const auto lease = co_await slots->take();
  *journal += lease ? std::string{'+', name} : std::string{'!', name};
  for (int i = 0; i < 3; ++i) {
    co_await asio::post(asio::use_awaitable);
  }
  if (lease) *journal += std::string{'-', name};
}

class SlotsTest : public ::testing::Test {
 protected:
  /// Spawns a visit for each name, and cancels those in upper case once all wait.
  std::string visits(std::uint32_t count, const std::string& names) {
    Slots slots(context_.get_executor(), count);
    std::string journal;
    auto work = run(&slots, names, &journal);
    asio::co_spawn(context_, std::move(work), [](std::exception_ptr error) {
      if (error) std::rethrow_exception(error);
    });
    context_.restart();
    context_.run();
    return journal;
  }

 private:
  asio::awaitable<void> run(Slots* slots, std::string names, std::string* journal) {
    const auto executor = co_await asio::this_coro::executor;
    TaskGroup group(executor);
    std::vector<TaskGroup::ChildId> to_cancel;
    for (const char name : names) {
      const TaskGroup::ChildId id = group.spawn(visit(slots, name, journal));
      if (name >= 'A' && name <= 'Z') to_cancel.push_back(id);
    }
    co_await asio::post(asio::use_awaitable);
    for (const TaskGroup::ChildId id : to_cancel) group.cancel(id);
    co_await group.join();
  }

  asio::io_context context_;
};

TEST_F(SlotsTest, AsManyAsThereArePlacesAndThenFirstComeFirstServed) {
  EXPECT_EQ(visits(1, "abc"), "+a-a+b-b+c-c");
  EXPECT_EQ(visits(3, "abc").substr(0, 6), "+a+b+c");
  EXPECT_EQ(visits(2, "abc").substr(0, 4), "+a+b");
}

TEST_F(SlotsTest, WhoIsCancelledWhileItWaitsLeavesTheQueue) {
  EXPECT_EQ(visits(1, "aBc"), "+a!B-a+c-c");
}

asio::awaitable<void> take_before_waiter_wakes(Slots* slots, std::string* journal) {
  const auto executor = co_await asio::this_coro::executor;
  TaskGroup group(executor);
  {
    co_await asio::this_coro::throw_if_cancelled(false);
    const auto lease = co_await slots->take();
    const TaskGroup::ChildId second = group.spawn(visit(slots, 'b', journal));
    group.spawn(visit(slots, 'c', journal));
    co_await asio::post(asio::use_awaitable);
    group.cancel(second);  // and at once its turn comes
  }
  co_await group.join();
}

TEST(Slots, APlaceGivenToOneWhoIsCancelledPassesOn) {
  asio::io_context context;
  Slots slots(context.get_executor(), 1);
  std::string journal;
  auto work = take_before_waiter_wakes(&slots, &journal);
  asio::co_spawn(context, std::move(work), [](std::exception_ptr error) {
    if (error) std::rethrow_exception(error);
  });
  context.run();
  EXPECT_EQ(journal, "!b+c-c");
}

}  // namespace
}  // namespace ponder
