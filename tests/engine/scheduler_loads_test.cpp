// Requests whose pages are on disk: whose turn it is to bring them back, and when.

#include <gmock/gmock.h>

#include <random>
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
  /// One that needs so many pages, none of which is on disk.
  void add_large(TokenId id, Priority priority, std::size_t num_pages) {
    add(id, priority, Deadline::never(), num_pages - 1);  // and one for what follows
  }
  /// As the engine does, as many steps as a prompt takes.
  void compute_prompts() {
    std::vector<Scheduler::Work> work;
    std::vector<BatchSegment> segments;
    do {
      scheduler_->plan(256, work, segments);
      for (const auto& item : work) scheduler_->computed(item);
    } while (!work.empty());
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

TEST_F(PagesInTurn, WhoFindsTheCacheFullLoadsWhenThereIsRoomAndComputesNothingThatIsThere) {
  add_large(7, Priority::normal, kPages);
  EXPECT_THAT(admit(), ElementsAre(Pair(RequestId{7}, 0U)));
  add(1);
  EXPECT_THAT(admit(), IsEmpty());
  EXPECT_THAT(admit(), IsEmpty());
  EXPECT_FALSE(cache_->is_loading());
  scheduler_->remove(RequestId{7});
  EXPECT_THAT(admit(), IsEmpty());
  EXPECT_THAT(admit_loaded(), ElementsAre(Pair(RequestId{1}, kAll)));
}

TEST_F(PagesInTurn, RoomThatIsMadeByPreemptionIsKeptUntilThePagesHaveCome) {
  add_large(7, Priority::low, kPages - 2);
  EXPECT_THAT(admit(), ElementsAre(Pair(RequestId{7}, 0U)));
  add(1, Priority::high);
  EXPECT_THAT(admit(), IsEmpty());
  EXPECT_TRUE(cache_->is_loading());
  EXPECT_THAT(admit_loaded(), ElementsAre(Pair(RequestId{1}, kAll)));
  EXPECT_EQ(scheduler_->counters().preemptions, 1U);
  scheduler_->remove(RequestId{1});
  EXPECT_THAT(admit(), ElementsAre(Pair(RequestId{7}, 0U)));
}

TEST_F(PagesInTurn, RoomThatWasMadeForOneThatIsCancelledIsForAllAgain) {
  add_large(7, Priority::low, kPages - 2);
  EXPECT_THAT(admit(), ElementsAre(Pair(RequestId{7}, 0U)));
  add(1, Priority::high);
  EXPECT_THAT(admit(), IsEmpty());
  scheduler_->remove(RequestId{1});
  EXPECT_THAT(admit(), ElementsAre(Pair(RequestId{7}, 0U)));
}

TEST_F(PagesInTurn, WhoIsPreemptedAndWhosePagesGoToDiskMeanwhileLoadsThem) {
  add_large(7, Priority::low, 4);
  EXPECT_THAT(admit(), ElementsAre(Pair(RequestId{7}, 0U)));
  compute_prompts();
  add_large(8, Priority::high, kPages);
  EXPECT_THAT(admit(), ElementsAre(Pair(RequestId{8}, 0U)));
  compute_prompts();  // which takes all pages
  EXPECT_THAT(admit(), IsEmpty());
  scheduler_->remove(RequestId{8});
  EXPECT_THAT(admit(), IsEmpty());
  EXPECT_THAT(admit_loaded(), ElementsAre(Pair(RequestId{7}, kAll)));
}

TEST_F(PagesInTurn, WhoDoesNotFitAnyMoreWhenItsTurnToLoadComesLoadsWhenItDoes) {
  for (const TokenId id : {1, 2}) add(id);
  add_large(7, Priority::normal, kPages - 4);
  EXPECT_THAT(admit(), ElementsAre(Pair(RequestId{7}, 0U)));
  EXPECT_THAT(admit_loaded(), ElementsAre(Pair(RequestId{1}, kAll)));  // which leaves no room
  EXPECT_EQ(scheduler_->num_waiting(), 1U);
  scheduler_->remove(RequestId{7});
  EXPECT_THAT(admit(), IsEmpty());
  EXPECT_THAT(admit_loaded(), ElementsAre(Pair(RequestId{2}, kAll)));
}

TEST_F(PagesInTurn, WhoLosesItsRoomWhileItLoadsStartsAfterAFewTimesWithWhatHasCome) {
  leave_on_disk(tokens_of(6000, 5), 10);
  add(6, Priority::normal, Deadline::never(), 5);
  for (std::uint32_t i = 0; i < Scheduler::kLoadsMax; ++i) {
    EXPECT_THAT(admit(), IsEmpty());
    ASSERT_TRUE(cache_->is_loading());
    const TokenId other = 7 + static_cast<TokenId>(i);
    add_large(other, Priority::normal, pool_->num_free());
    EXPECT_THAT(admit(), ElementsAre(Pair(RequestId{other}, 0U)));
    EXPECT_THAT(admit_loaded(), IsEmpty());
    scheduler_->remove(RequestId{other});
  }
  const std::size_t num_come = Scheduler::kLoadsMax * kPageTokens;  // a page each time
  EXPECT_THAT(admit(), ElementsAre(Pair(RequestId{6}, num_come)));
  EXPECT_FALSE(cache_->is_loading());
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

/// Requests come, end some time after their prompt is computed, are cancelled and preempted in a
/// cache that is too small for them, with room for one page, or many, on the way back: all end.
TEST_F(PagesElsewhere, RandomTrafficThroughTheDiskEndsAndLosesNoPage) {
  const auto seed = testing::test_seed();
  SCOPED_TRACE(::testing::Message() << "PONDER_TEST_SEED=" << seed);
  std::mt19937_64 rng(seed);
  for (const std::size_t staged_pages_max : {1, 64}) {
    make_cache(staged_pages_max);
    Scheduler scheduler(*cache_);
    std::uint64_t last_id = 0;
    const auto make = [&](bool is_shadow) {
      GenerationRequest spec;
      spec.prompt = tokens_of(static_cast<TokenId>(1000 * (1 + rng() % 12)), 1 + rng() % 12);
      if (!is_shadow) spec.prompt.push_back(5);
      spec.priority = static_cast<Priority>(rng() % 3);
      const std::size_t tokens_max = spec.prompt.size() + (is_shadow ? 0 : 1 + rng() % 200);
      auto request = std::make_unique<Request>(RequestId{++last_id}, std::move(spec),
                                               RequestCallbacks{}, tokens_max, *pool_);
      request->is_shadow = is_shadow;
      return request;
    };
    std::vector<Scheduler::Work> work;
    std::vector<BatchSegment> segments;
    std::vector<RequestId> answering;
    const auto step = [&](bool is_last) {
      scheduler.take_loaded();
      scheduler.admit({});
      scheduler.plan(1 + rng() % 200, work, segments);
      for (const Scheduler::Work& item : work) {
        const bool is_shadow = item.request->is_shadow;
        scheduler.computed(item);  // a shadow request may be gone after this
        if (!is_shadow && item.request->num_pending() == 0) answering.push_back(item.request->id);
      }
      while (!answering.empty() && (is_last || rng() % 3 == 0)) {
        scheduler.remove(answering.back());
        answering.pop_back();
      }
      if (work.empty() && cache_->is_loading()) cache_->wait_for_load();
    };
    for (int round = 0; round < 1500; ++round) {
      if (rng() % 3 == 0) scheduler.add(make(false));
      if (rng() % 20 == 0) scheduler.add_shadow(make(true));
      if (rng() % 12 == 0)
        scheduler.remove(RequestId{1 + rng() % std::max<std::uint64_t>(last_id, 1)});
      step(false);
    }
    step(true);
    while (scheduler.num_running() + scheduler.num_waiting() + scheduler.num_shadow() > 0) {
      step(true);
      ASSERT_TRUE(!work.empty() || cache_->is_loading() || scheduler.num_waiting() == 0);
    }
    load_all();
    EXPECT_GT(store_->counters().pages_read, 0U);
    EXPECT_EQ(cache_->num_available(), kPages);
  }
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
