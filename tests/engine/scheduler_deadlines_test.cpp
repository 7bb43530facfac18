// What a scheduler keeps of deadlines, and what that costs: an engine runs for weeks, its requests
// for seconds, and their deadlines may lie days ahead.

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "engine/scheduler.h"
#include "tests/engine/support.h"

namespace ponder::engine {
namespace {

class SchedulerDeadlines : public ::testing::Test {
 protected:
  SchedulerDeadlines() {
    const CacheLayout layout(testing::tiny_config(), kernels::DType::bf16);
    pool_ = std::make_unique<PagePool>(*PagePool::create(layout, 20 * layout.page_bytes));
    cache_ = std::make_unique<PrefixCache>(*pool_);
    scheduler_ = std::make_unique<Scheduler>(*cache_);
  }
  ~SchedulerDeadlines() override {
    scheduler_.reset();
    cache_.reset();
  }

  static Clock::Instant in(int seconds) { return Clock::Instant() + std::chrono::seconds(seconds); }
  RequestId add(Clock::Instant deadline) {
    GenerationRequest spec;
    spec.prompt = {1, 2, 3};
    spec.deadline = Deadline(deadline);
    const RequestId id{++last_id_};
    scheduler_->add(std::make_unique<Request>(id, std::move(spec), RequestCallbacks{}, 4, *pool_));
    return id;
  }
  std::size_t num_kept_max() const {
    return 2 * scheduler_->num_waiting() + Scheduler::kDeadlinesEndedMin;
  }

  std::unique_ptr<PagePool> pool_;
  std::unique_ptr<PrefixCache> cache_;
  std::unique_ptr<Scheduler> scheduler_;
  std::uint64_t last_id_ = 0;
};

TEST_F(SchedulerDeadlines, OfRequestsThatEndedAreForgottenAtAConstantCost) {
  constexpr int kRequests = 20'000;
  for (int i = 0; i < kRequests; ++i) {
    scheduler_->remove(add(in(1'000'000 - i)));
    ASSERT_LE(scheduler_->num_deadlines(), num_kept_max());
  }
  EXPECT_LE(scheduler_->counters().requests_examined, 4U * kRequests);
}

TEST_F(SchedulerDeadlines, AreForgottenAtAConstantCostWhenManyEndAtOnce) {
  constexpr int kRequests = 20'000;
  std::vector<RequestId> ids;
  for (int i = 0; i < kRequests; ++i) ids.push_back(add(in(1'000'000 + i)));
  for (const RequestId id : ids) {
    scheduler_->remove(id);
    ASSERT_LE(scheduler_->num_deadlines(), num_kept_max());
  }
  EXPECT_LE(scheduler_->counters().requests_examined, 4U * kRequests);
}

TEST_F(SchedulerDeadlines, OfRequestsThatAreHereAreMetWhateverWasForgotten) {
  std::mt19937_64 rng(testing::test_seed());
  std::vector<std::pair<Clock::Instant, RequestId>> left;
  for (int i = 0; i < 2'000; ++i) {
    const Clock::Instant deadline = in(static_cast<int>(rng() % 500));
    const RequestId id = add(deadline);
    if (i % 10 == 0) {
      left.emplace_back(deadline, id);
    } else {
      scheduler_->remove(id);
    }
  }
  std::ranges::sort(left);
  std::vector<std::pair<Clock::Instant, RequestId>> met;
  for (int now = 0; now < 500; ++now) {
    for (const RequestId id : scheduler_->expired(in(now))) {
      met.emplace_back(in(now), id);
      scheduler_->remove(id);
    }
  }
  EXPECT_EQ(met, left);
  EXPECT_EQ(scheduler_->num_deadlines(), 0U);
}

}  // namespace
}  // namespace ponder::engine
