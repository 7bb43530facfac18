// Requests whose pages are on disk: whose turn it is to bring them back, and when.

#include <gmock/gmock.h>

#include <utility>

#include "engine/scheduler.h"
#include "tests/engine/pages_elsewhere.h"

namespace ponder::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

/// Requests with pages there, more than have room on the way back.
class PagesInTurn : public PagesElsewhere {
 protected:
  void SetUp() override {
    make_cache(1);
    for (TokenId id = 1; id <= 4; ++id) leave_on_disk(tokens_of(1000 * id, 3), 10);
    scheduler_ = std::make_unique<Scheduler>(*cache_);
  }
  void TearDown() override {
    for (std::uint64_t id = 1; id <= 11; ++id) scheduler_->remove(RequestId{id});
    load_all();
  }
  void add(TokenId id, Priority priority = Priority::normal, Deadline deadline = Deadline::never(),
           std::size_t num_pages = 3) {
    GenerationRequest spec;
    spec.prompt = tokens_of(1000 * (id % 10), num_pages);
    spec.prompt.push_back(5);
    spec.tokens_generated_max = 4;
    spec.priority = priority;
    spec.deadline = deadline;
    const std::size_t tokens_max = spec.prompt.size() + 4;
    scheduler_->add(std::make_unique<Request>(RequestId{id}, std::move(spec), RequestCallbacks{},
                                              tokens_max, *pool_));
  }
  /// A prompt that may come, the first of whose pages are on their way now.
  void load_in_idle_time(TokenId id) {
    GenerationRequest spec;
    spec.prompt = tokens_of(1000 * id, 3);
    auto idle = std::make_unique<Request>(RequestId{20}, std::move(spec), RequestCallbacks{},
                                          3 * kPageTokens, *pool_);
    idle->is_shadow = true;
    scheduler_->add_shadow(std::move(idle));
    std::vector<Scheduler::Work> work;
    std::vector<BatchSegment> segments;
    scheduler_->plan(64, work, segments);
    EXPECT_TRUE(cache_->is_loading());
  }
  /// Those that start now, with the tokens that they need not compute.
  std::vector<std::pair<RequestId, std::size_t>> admit() {
    std::vector<std::pair<RequestId, std::size_t>> started;
    for (const Request* request : scheduler_->admit({})) {
      started.emplace_back(request->id, request->num_computed);
    }
    return started;
  }
  /// Until nothing is on its way; those that started meanwhile.
  std::vector<std::pair<RequestId, std::size_t>> admit_loaded() {
    std::vector<std::pair<RequestId, std::size_t>> started;
    while (cache_->is_loading()) {
      cache_->wait_for_load();
      scheduler_->take_loaded();
      for (const auto& one : admit()) started.push_back(one);
    }
    return started;
  }

  std::unique_ptr<Scheduler> scheduler_;
};

using ::testing::Pair;
constexpr std::size_t kAll = 3 * kPageTokens;

TEST_F(PagesInTurn, WhoFindsNoRoomWaitsForItAndComputesNothingThatIsThere) {
  for (const TokenId id : {1, 2, 3, 7}) add(id);  // of the last nothing is on disk
  EXPECT_THAT(admit(), ElementsAre(Pair(RequestId{7}, 0U)));
  EXPECT_EQ(pool_->num_free(), kPages - 1);  // one page is on its way
  EXPECT_THAT(admit(), IsEmpty());
  EXPECT_EQ(scheduler_->num_waiting(), 3U);
  EXPECT_THAT(admit_loaded(), ElementsAre(Pair(RequestId{1}, kAll), Pair(RequestId{2}, kAll),
                                          Pair(RequestId{3}, kAll)));
  EXPECT_EQ(store_->counters().pages_read, 9U);
}

TEST_F(PagesInTurn, WhoEndsWhileItWaitsForRoomIsGone) {
  const Clock::Instant soon{std::chrono::milliseconds(5)};
  for (const TokenId id : {1, 2}) add(id);
  add(3, Priority::normal, Deadline(soon));
  add(4);
  EXPECT_THAT(admit(), IsEmpty());
  ASSERT_NE(scheduler_->remove(RequestId{2}), nullptr);
  EXPECT_THAT(scheduler_->expired(soon), ElementsAre(RequestId{3}));
  ASSERT_NE(scheduler_->remove(RequestId{3}), nullptr);
  EXPECT_THAT(admit_loaded(), ElementsAre(Pair(RequestId{1}, kAll), Pair(RequestId{4}, kAll)));
  EXPECT_EQ(store_->counters().pages_read, 6U);
}

TEST_F(PagesInTurn, AHigherPriorityHasItsTurnFirst) {
  for (const TokenId id : {1, 2, 3}) add(id);
  EXPECT_THAT(admit(), IsEmpty());
  add(4, Priority::high);
  EXPECT_THAT(admit(), IsEmpty());
  EXPECT_THAT(admit_loaded(), ElementsAre(Pair(RequestId{1}, kAll), Pair(RequestId{4}, kAll),
                                          Pair(RequestId{2}, kAll), Pair(RequestId{3}, kAll)));
}

TEST_F(PagesInTurn, WhoComesWhenThereIsRoomAgainDoesNotOvertakeThoseThatWaitForIt) {
  for (const TokenId id : {1, 2, 3}) add(id);
  EXPECT_THAT(admit(), IsEmpty());
  while (cache_->is_loading()) {  // until the first has its pages, and nothing is on its way
    cache_->wait_for_load();
    scheduler_->take_loaded();
  }
  add(4, Priority::low);
  add(7, Priority::low);  // of which nothing is on disk
  EXPECT_THAT(admit(), ElementsAre(Pair(RequestId{1}, kAll), Pair(RequestId{7}, 0U)));
  EXPECT_THAT(admit_loaded(), ElementsAre(Pair(RequestId{2}, kAll), Pair(RequestId{3}, kAll),
                                          Pair(RequestId{4}, kAll)));
}

TEST_F(PagesInTurn, WhoHasItsPagesWhenItsTurnComesStartsAtOnce) {
  for (const TokenId id : {1, 11}) add(id);  // the same prompt
  EXPECT_THAT(admit(), IsEmpty());
  EXPECT_THAT(admit_loaded(), ElementsAre(Pair(RequestId{1}, kAll), Pair(RequestId{11}, kAll)));
  EXPECT_EQ(store_->counters().pages_read, 3U);
}

TEST_F(PagesInTurn, APromptForIdleTimeGivesWayAndGoesOnLater) {
  load_in_idle_time(1);
  add(2);
  EXPECT_THAT(admit(), IsEmpty());
  EXPECT_THAT(admit_loaded(), ElementsAre(Pair(RequestId{2}, kAll)));
  EXPECT_EQ(store_->counters().pages_read, 1U + 3U);  // the one that was on its way, and its own
  scheduler_->remove(RequestId{2});
  std::vector<Scheduler::Work> work;
  std::vector<BatchSegment> segments;
  while (scheduler_->num_shadow() > 0) {  // whose pages all come back: nothing is to be computed
    scheduler_->plan(64, work, segments);
    if (cache_->is_loading()) cache_->wait_for_load();
    scheduler_->take_loaded();
  }
  EXPECT_THAT(work, IsEmpty());
  EXPECT_EQ(store_->counters().pages_read, 4U + 3U);
}

TEST_F(PagesInTurn, APromptForIdleTimeKeepsNoPageThatARequestNeeds) {
  load_in_idle_time(1);
  while (store_->counters().pages_read == 0) {
    cache_->wait_for_load();
    scheduler_->take_loaded();
  }
  EXPECT_EQ(pool_->num_free(), kPages - 2);  // one that has come and is held, and the next one's
  const auto add_large = [&](TokenId id, Priority priority, std::size_t num_pages) {
    add(id, priority, Deadline::never(), num_pages - 1);  // and one for what follows
  };
  add_large(7, Priority::low, kPages - 6);
  EXPECT_THAT(admit(), ElementsAre(Pair(RequestId{7}, 0U)));
  // The page that has come is enough for this one: nobody who runs need go.
  add_large(8, Priority::high, 5);
  EXPECT_THAT(admit(), ElementsAre(Pair(RequestId{8}, 0U)));
  EXPECT_EQ(scheduler_->counters().preemptions, 0U);
  // This one needs the one that is under way, too, and starts when that has come.
  add_large(9, Priority::low, 1);
  EXPECT_THAT(admit(), IsEmpty());
  EXPECT_THAT(admit_loaded(), ElementsAre(Pair(RequestId{9}, 0U)));
  EXPECT_EQ(store_->counters().pages_read, 2U);
}

TEST_F(PagesInTurn, WhenAllStartsOverTheyStandInTheirOrderBehindThoseThatRan) {
  add(7);
  add(8);
  for (const TokenId id : {1, 2, 3}) add(id);
  EXPECT_EQ(admit().size(), 2U);
  EXPECT_EQ(scheduler_->start_over().size(), 2U);
  EXPECT_FALSE(cache_->is_loading());
  EXPECT_EQ(pool_->num_free(), kPages);
  cache_->set_identity({2});  // under which nothing is on disk
  EXPECT_THAT(admit(),
              ElementsAre(Pair(RequestId{7}, 0U), Pair(RequestId{8}, 0U), Pair(RequestId{1}, 0U),
                          Pair(RequestId{2}, 0U), Pair(RequestId{3}, 0U)));
}

TEST_F(PagesElsewhere, WhoWaitsForPagesWhenAllStartsOverStandsInTheQueueAgain) {
  make_cache(8);
  Scheduler scheduler(*cache_);
  const auto tokens = tokens_of(1000, 3);
  leave_on_disk(tokens, 10);
  GenerationRequest spec;
  spec.prompt = tokens;
  spec.prompt.push_back(5);
  spec.tokens_generated_max = 4;
  scheduler.add(std::make_unique<Request>(RequestId{1}, std::move(spec), RequestCallbacks{},
                                          tokens.size() + 5, *pool_));
  EXPECT_THAT(scheduler.admit({}), IsEmpty());
  EXPECT_TRUE(cache_->is_loading());
  EXPECT_LT(pool_->num_free(), kPages);

  EXPECT_THAT(scheduler.start_over(), IsEmpty());  // nobody has run
  EXPECT_FALSE(cache_->is_loading());
  EXPECT_EQ(pool_->num_free(), kPages);
  cache_->set_identity({2});
  const auto admitted = scheduler.admit({});
  ASSERT_EQ(admitted.size(), 1U);
  EXPECT_EQ(admitted.front()->id, RequestId{1});
  EXPECT_EQ(admitted.front()->num_computed, 0U);
  scheduler.remove(RequestId{1});
}

}  // namespace
}  // namespace ponder::engine
