#include "tests/simulation/run.h"

#include <algorithm>
#include <boost/asio/cancellation_state.hpp>
#include <boost/asio/this_coro.hpp>

namespace ponder::simulation {
namespace asio = boost::asio;

asio::awaitable<void> Run::insist(std::chrono::milliseconds how_long) {
  co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
  if (is_dead()) co_return;
  insisted += how_long;
  Timer timer(scene->home.get_executor(), scene->clock.now() + how_long);
  process->stubborn.insert(&timer);
  co_await timer.wait();
  process->stubborn.erase(&timer);
}

void Run::expect_in_time(Deadline deadline, Clock::Instant began, const char* who) {
  if (is_dead() || scene->clock.now() <= std::max(deadline.at(), began)) return;
  scene->story.violated("deadline", "session {}: {} was still waited for after its deadline",
                        session->number, who);
}

}  // namespace ponder::simulation
