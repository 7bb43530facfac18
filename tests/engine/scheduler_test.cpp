#include "engine/scheduler.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <random>
#include <set>

#include "tests/engine/support.h"

namespace ponder::engine {
namespace {

using Tokens = std::vector<TokenId>;

/// What a request is and what it must come to.
struct Job {
  std::size_t num_prompt = 10;
  std::uint32_t num_answer = 4;
  Priority priority = Priority::normal;
  TokenId family = 0;  // jobs of one family begin alike
  Clock::Instant deadline = Clock::Instant::max();
};

/// The scheduler with a model that only remembers: each cache row holds its token, and every row of
/// a sequence is looked at before its next token is "sampled".
class SchedulerTest : public ::testing::Test {
 protected:
  void SetUp() override { set_pages(64); }

  void set_pages(std::size_t num_pages) {
    const CacheLayout layout(testing::tiny_config(), kernels::DType::bf16);
    auto pool = PagePool::create(layout, num_pages * layout.page_bytes);
    ASSERT_TRUE(pool.has_value());
    scheduler_.reset();
    cache_.reset();
    pool_ = std::make_unique<PagePool>(std::move(*pool));
    cache_ = std::make_unique<PrefixCache>(*pool_);
    scheduler_ = std::make_unique<Scheduler>(*cache_);
  }

  static Tokens prompt_of(const Job& job, std::uint64_t id) {
    Tokens tokens(job.num_prompt, 1000 + job.family);
    if (tokens.size() > 1) tokens[tokens.size() / 2] = static_cast<TokenId>(id);
    return tokens;
  }
  TokenId sampled(RequestId id, std::size_t position) const {
    const auto seed = seeds_.find(id);
    return static_cast<TokenId>(100'000 + 37 * static_cast<std::uint64_t>(id) + position +
                                10'000'000 * (seed == seeds_.end() ? 0 : seed->second));
  }

  std::unique_ptr<Request> make(const Job& job, RequestId id) {
    GenerationRequest spec;
    spec.prompt = prompt_of(job, static_cast<std::uint64_t>(id));
    spec.tokens_generated_max = job.num_answer;
    spec.priority = job.priority;
    spec.deadline = Deadline(job.deadline);
    const std::size_t tokens_max = spec.prompt.size() + job.num_answer;
    return std::make_unique<Request>(id, std::move(spec), RequestCallbacks{}, tokens_max, *pool_);
  }
  RequestId add(const Job& job) {
    const RequestId id{++last_id_};
    scheduler_->add(make(job, id));
    jobs_[id] = job;
    return id;
  }
  /// A branch whose prompt is the first tokens of another request.
  RequestId fork(RequestId parent, std::size_t num_tokens, Job job) {
    const RequestId id{++last_id_};
    job.num_prompt = num_tokens;
    auto request = make(job, id);
    const Tokens& tokens = scheduler_->find(parent)->tokens;
    const auto end = tokens.begin() + static_cast<std::ptrdiff_t>(num_tokens);
    request->tokens.assign(tokens.begin(), end);
    request->branch = Request::Branch{parent, num_tokens};
    prompts_[id] = request->tokens;
    scheduler_->add(std::move(request));
    jobs_[id] = job;
    return id;
  }
  /// As the engine does; what is sampled from there on is something else than before.
  void set_back(RequestId id, std::size_t num_tokens) {
    Request& request = *scheduler_->find(id);
    scheduler_->truncate(request, num_tokens);
    request.stats.tokens_prompt =
        std::min(request.stats.tokens_prompt, static_cast<std::uint32_t>(num_tokens));
    request.stats.tokens_generated =
        static_cast<std::uint32_t>(num_tokens) - request.stats.tokens_prompt;
    prompts_[id] = request.tokens;
    ++seeds_[id];
  }
  void add_shadow(const Tokens& tokens) {
    GenerationRequest spec;
    spec.prompt = tokens;
    auto request = std::make_unique<Request>(RequestId{}, std::move(spec), RequestCallbacks{},
                                             tokens.size(), *pool_);
    request->is_shadow = true;
    scheduler_->add_shadow(std::move(request));
  }

  /// One step; returns who got a token.
  std::set<RequestId> step(std::size_t rows_max) {
    for (const Request* request : scheduler_->admit(Clock::Instant())) {
      started_.push_back(request->id);
    }
    scheduler_->plan(rows_max, work_, segments_);
    std::size_t rows = 0;
    std::set<RequestId> answered;
    for (std::size_t i = 0; i < work_.size(); ++i) {
      rows += work_[i].num_rows;
      const bool wants_logits = segments_[i].wants_logits;
      Request& request = *work_[i].request;
      write_rows(segments_[i]);
      scheduler_->computed(work_[i]);
      if (!wants_logits) continue;
      answered.insert(request.id);
      answer(request);
    }
    EXPECT_LE(rows, rows_max);
    return answered;
  }

  void run(std::size_t rows_max) {
    while (scheduler_->num_running() + scheduler_->num_waiting() > 0) step(rows_max);
  }

  static void write_rows(const BatchSegment& segment) {
    for (std::size_t i = 0; i < segment.tokens.size(); ++i) {
      std::memcpy(segment.table->latent_row(5, segment.first_position + i), &segment.tokens[i],
                  sizeof(TokenId));
    }
  }

  void answer(Request& request) {
    for (std::size_t i = 0; i < request.num_computed; ++i) {
      TokenId stored = 0;
      std::memcpy(&stored, request.table.latent_row(5, i), sizeof stored);
      ASSERT_EQ(stored, request.tokens[i]) << "row " << i;
    }
    request.tokens.push_back(sampled(request.id, request.tokens.size()));
    ++request.stats.tokens_generated;
    if (request.tokens.size() < request.tokens_max) return;
    const auto ended = scheduler_->remove(request.id);
    ASSERT_NE(ended, nullptr);
    done_[ended->id] = ended->tokens;
    cached_[ended->id] = ended->stats.tokens_cached;
  }

  void expect_all_right() const {
    for (const auto& [id, tokens] : done_) {
      const Job& job = jobs_.at(id);
      const auto own = prompts_.find(id);
      Tokens want = own == prompts_.end() ? prompt_of(job, static_cast<std::uint64_t>(id))
                                          : own->second;
      while (want.size() < job.num_prompt + job.num_answer) {
        want.push_back(sampled(id, want.size()));
      }
      ASSERT_EQ(tokens, want) << "request " << static_cast<std::uint64_t>(id);
    }
  }

  std::unique_ptr<PagePool> pool_;
  std::unique_ptr<PrefixCache> cache_;
  std::unique_ptr<Scheduler> scheduler_;
  std::vector<Scheduler::Work> work_;
  std::vector<BatchSegment> segments_;
  std::uint64_t last_id_ = 0;
  std::map<RequestId, Job> jobs_;
  std::vector<RequestId> started_;
  std::map<RequestId, Tokens> done_;
  std::map<RequestId, std::uint32_t> cached_;
  std::map<RequestId, Tokens> prompts_;          // that a fork or a truncation decided
  std::map<RequestId, std::uint32_t> seeds_;     // truncations so far
};

TEST_F(SchedulerTest, HigherPrioritiesStartFirstAndTheLowestIsNotPassedOverForEver) {
  set_pages(1);  // one at a time
  const RequestId low = add({.num_answer = 1, .priority = Priority::low});
  const RequestId normal = add({.num_answer = 1});
  std::vector<RequestId> high;
  for (int i = 0; i < 20; ++i) {
    high.push_back(add({.num_answer = 1, .priority = Priority::high}));
  }
  run(64);
  ASSERT_EQ(started_.size(), 22U);
  const auto place = [&](RequestId id) {
    return std::find(started_.begin(), started_.end(), id) - started_.begin();
  };
  EXPECT_EQ(place(high[0]), 0);
  EXPECT_EQ(place(high[7]), 7);
  EXPECT_EQ(place(low), 8);
  EXPECT_EQ(place(normal), 9);
  EXPECT_TRUE(std::is_sorted(high.begin(), high.end(),
                             [&](RequestId a, RequestId b) { return place(a) < place(b); }));
  expect_all_right();
}

TEST_F(SchedulerTest, AShortPromptIsAnsweredInTheStepAfterItCameWhileALongOneIsComputed) {
  add({.num_prompt = 3000, .num_answer = 2});
  step(64);
  for (int i = 0; i < 10; ++i) {
    const RequestId quick = add({.num_prompt = 20, .num_answer = 1});
    EXPECT_TRUE(step(64).contains(quick)) << i;
  }
}

TEST_F(SchedulerTest, ShortPromptsThatKeepComingDoNotStarveALongOne) {
  const RequestId slow = add({.num_prompt = 1000, .num_answer = 1});
  step(64);
  int steps = 1;
  for (; !done_.contains(slow) && steps < 1000; ++steps) {
    for (int i = 0; i < 3; ++i) {
      add({.num_prompt = 40, .num_answer = 1, .priority = Priority::high});
    }
    step(64);
  }
  EXPECT_LE(steps, 1000 / 16 + 2);  // a quarter of each step is its own
}

TEST_F(SchedulerTest, MoreAnswersThanRowsHaveThemInTurns) {
  set_pages(128);
  std::vector<RequestId> ids;
  for (int i = 0; i < 12; ++i) ids.push_back(add({.num_answer = 400}));
  for (int i = 0; i < 100; ++i) step(10);  // every prompt is done by then
  std::map<RequestId, int> tokens;
  for (int i = 0; i < 60; ++i) {
    for (const RequestId id : step(5)) ++tokens[id];
  }
  for (const RequestId id : ids) EXPECT_EQ(tokens[id], 25);
}

TEST_F(SchedulerTest, AHigherPriorityTakesThePagesOfALowerOneWhichThenGoesOnWhereItWas) {
  set_pages(6);
  const RequestId low = add({.num_prompt = 200, .num_answer = 60, .priority = Priority::low});
  for (int i = 0; i < 20; ++i) step(64);
  const RequestId high = add({.num_prompt = 100, .num_answer = 10, .priority = Priority::high});
  EXPECT_TRUE(step(128).contains(high));
  EXPECT_EQ(scheduler_->counters().preemptions, 1U);
  EXPECT_EQ(scheduler_->num_running(), 1U);
  run(64);
  EXPECT_EQ(started_, (std::vector{low, high, low}));
  expect_all_right();
}

TEST_F(SchedulerTest, NothingIsPreemptedForARequestThatWouldNotFitAfterwardsEither) {
  set_pages(8);
  add({.num_prompt = 100, .num_answer = 20});
  add({.num_prompt = 100, .num_answer = 20, .priority = Priority::high});
  step(64);
  add({.num_prompt = 400, .num_answer = 20, .priority = Priority::high});  // 7 pages, 6 at most
  step(64);
  EXPECT_EQ(scheduler_->counters().preemptions, 0U);
  EXPECT_EQ(scheduler_->num_running(), 2U);
  run(64);
  expect_all_right();
}

TEST_F(SchedulerTest, APreemptedRequestIsLeftAloneAfterAFewTimes) {
  set_pages(6);
  const RequestId low = add({.num_prompt = 250, .num_answer = 60, .priority = Priority::low});
  step(64);
  for (int i = 0; i < 200 && !done_.contains(low); ++i) {
    add({.num_prompt = 150, .num_answer = 1, .priority = Priority::high});
    step(64);
  }
  EXPECT_TRUE(done_.contains(low));
  EXPECT_LE(scheduler_->counters().preemptions, Scheduler::kPreemptedMax);
  run(64);
  expect_all_right();
}

TEST_F(SchedulerTest, ARequestThatDoesNotFitHoldsBackThoseBehindIt) {
  set_pages(8);
  add({.num_prompt = 300, .num_answer = 20});
  step(64);
  const RequestId large = add({.num_prompt = 400, .num_answer = 20});
  const RequestId small = add({.num_prompt = 10, .num_answer = 1});
  run(64);
  EXPECT_EQ(started_[1], large);
  EXPECT_EQ(started_[2], small);
}

TEST_F(SchedulerTest, RequestsExpireInTheOrderOfTheirDeadlinesWhereverTheyAre) {
  const Clock::Instant start{};
  const auto after = [&](int ms) { return start + std::chrono::milliseconds(ms); };
  const RequestId late = add({.num_answer = 100, .deadline = after(30)});
  const RequestId early = add({.num_answer = 100, .deadline = after(10)});
  const RequestId gone = add({.num_answer = 100, .deadline = after(20)});
  const RequestId patient = add({.num_answer = 100});
  step(64);
  EXPECT_TRUE(scheduler_->expired(after(9)).empty());
  EXPECT_EQ(scheduler_->expired(after(10)), std::vector{early});
  EXPECT_TRUE(scheduler_->expired(after(10)).empty());
  scheduler_->remove(gone);
  EXPECT_EQ(scheduler_->expired(after(100)), std::vector{late});
  EXPECT_NE(scheduler_->find(patient), nullptr);
}

TEST_F(SchedulerTest, TheWorkForOneRequestDoesNotGrowWithTheNumberThatWait) {
  const auto examined = [&](std::size_t num_requests) {
    set_pages(64);
    std::vector<RequestId> ids;
    const Clock::Instant soon = Clock::Instant() + std::chrono::seconds(1);
    for (std::size_t i = 0; i < num_requests; ++i) {
      ids.push_back(add({.num_prompt = 8,
                         .num_answer = 1,
                         .priority = static_cast<Priority>(i % 3),
                         .deadline = i % 5 == 0 ? soon : Clock::Instant::max()}));
    }
    step(512);
    for (std::size_t i = 1; i < num_requests; i += 2) scheduler_->remove(ids[i]);
    for (const RequestId id : scheduler_->expired(soon)) scheduler_->remove(id);
    run(512);
    return static_cast<double>(scheduler_->counters().requests_examined);
  };
  const double few = examined(500) / 500;
  const double many = examined(5000) / 5000;
  EXPECT_LE(many, 1.2 * few);
}

TEST_F(SchedulerTest, ArrivalsBehindARequestThatDoesNotFitDoNotMakeItTryAgain) {
  set_pages(8);
  add({.num_prompt = 300, .num_answer = 20});
  step(64);
  add({.num_prompt = 400, .num_answer = 20});
  step(64);
  const auto before = scheduler_->counters().requests_examined;
  for (int i = 0; i < 100; ++i) {
    add({.num_answer = 1});
    EXPECT_TRUE(scheduler_->admit(Clock::Instant()).empty());
  }
  EXPECT_LE(scheduler_->counters().requests_examined - before, 100U);
  const RequestId urgent = add({.num_answer = 1, .priority = Priority::high});
  step(64);
  EXPECT_EQ(started_.back(), urgent);  // it is ahead of the large one, and fits
  run(64);
  expect_all_right();
}

TEST_F(SchedulerTest, APageThatTwoHaveComputedAlikeIsAtOnceThereForWhoWaits) {
  set_pages(4);
  for (int i = 0; i < 2; ++i) {
    const RequestId id{++last_id_};
    jobs_[id] = {.num_prompt = 64, .num_answer = 40};
    auto request = make(jobs_[id], id);
    request->tokens = prompts_[id] = Tokens(64, 7);
    scheduler_->add(std::move(request));
  }
  const RequestId third = add({.num_answer = 1});
  step(128);
  EXPECT_EQ(started_.size(), 2U);
  EXPECT_TRUE(step(128).contains(third));
  run(64);
  expect_all_right();
}

TEST_F(SchedulerTest, PromptsHaveTheirShareOfTheSmallestBatchesToo) {
  for (const std::size_t rows : {2U, 3U, 4U}) {
    for (int i = 0; i < 4; ++i) add({.num_answer = 300});
    for (int i = 0; i < 60; ++i) step(rows);  // the four are answering
    const RequestId late = add({.num_answer = 1});
    for (int i = 0; i < 10; ++i) step(rows);
    EXPECT_TRUE(done_.contains(late)) << rows;
    run(64);
  }
  expect_all_right();
}

TEST_F(SchedulerTest, IdleTimeComputesAPromptThatALaterRequestFinds) {
  const Tokens prompt = prompt_of({.num_prompt = 300}, 1);
  add_shadow(prompt);
  while (scheduler_->num_shadow() > 0) {
    EXPECT_TRUE(step(512).empty());
    for (const auto& work : work_) EXPECT_LE(work.num_rows, Scheduler::kShadowRowsMax);
  }
  const RequestId id = add({.num_prompt = 300});
  run(512);
  EXPECT_EQ(cached_[id], 299U);
  EXPECT_EQ(scheduler_->counters().shadow_hits, 1U);
  EXPECT_EQ(scheduler_->counters().tokens_shadow_saved, 299U);
  jobs_.erase(id);
  add({.num_prompt = 300});  // another answer's prompt: it differs in the middle
  run(512);
  EXPECT_EQ(scheduler_->counters().shadow_hits, 1U);  // counted once
}

TEST_F(SchedulerTest, RealWorkTakesOverAtOnceAndIdleWorkGoesOnAfterIt) {
  set_pages(8);
  add_shadow(Tokens(450, 7));  // all the pages there are
  step(100);
  step(100);
  const RequestId real = add({.num_prompt = 200, .num_answer = 3});
  EXPECT_TRUE(step(512).contains(real));
  for (const auto& work : work_) EXPECT_FALSE(work.request->is_shadow);
  EXPECT_EQ(scheduler_->num_shadow(), 1U);
  run(512);
  std::size_t rows = 0;
  while (scheduler_->num_shadow() > 0) {
    step(512);
    for (const auto& work : work_) rows += work.num_rows;
  }
  EXPECT_LE(rows, 450U - 128);  // what came before the interruption was not computed again
  expect_all_right();
}

TEST_F(SchedulerTest, IdleWorkIsForgottenWhenItsRequestHasCome) {
  add_shadow(prompt_of({.num_prompt = 200}, 1));
  step(64);
  add({.num_prompt = 200});
  EXPECT_EQ(scheduler_->num_shadow(), 0U);
  for (std::size_t i = 0; i < Scheduler::kShadowMax + 5; ++i) {
    add_shadow(Tokens(100, static_cast<TokenId>(i)));
  }
  EXPECT_EQ(scheduler_->num_shadow(), Scheduler::kShadowMax);
}

TEST_F(SchedulerTest, AForkTakesNoPageUntilSomebodyWrites) {
  const RequestId trunk = add({.num_prompt = 100, .num_answer = 60});
  step(128);
  const std::size_t free = pool_->num_free();
  const RequestId branch = fork(trunk, 100, {.num_answer = 2});
  step(0);  // admitted, and no row computed
  EXPECT_EQ(scheduler_->num_running(), 2U);
  EXPECT_EQ(pool_->num_free(), free);
  step(128);  // both write: one takes a copy, the other one stays where it was
  EXPECT_EQ(pool_->num_free(), free - 1);
  run(64);
  EXPECT_EQ(cached_[branch], 99U);  // the last token's logits are wanted
  expect_all_right();
}

TEST_F(SchedulerTest, ARequestThatIsSetBackLetsGoOfPagesAndGoesOnFromThere) {
  const RequestId id = add({.num_prompt = 200, .num_answer = 100});
  for (int i = 0; i < 60; ++i) step(256);
  const std::size_t free = pool_->num_free();
  set_back(id, 130);
  EXPECT_GT(cache_->num_available(), free);  // of five pages three are held
  EXPECT_EQ(scheduler_->num_running(), 1U);
  step(256);
  std::size_t rows = 0;
  for (const auto& work : work_) rows += work.num_rows;
  EXPECT_EQ(rows, 1U);  // the last token's
  run(64);
  expect_all_right();
}

TEST_F(SchedulerTest, ABranchOfARequestThatWasSetBackSharesOnlyWhatIsStillTheSame) {
  set_pages(4);
  const RequestId trunk = add({.num_prompt = 150, .num_answer = 100});
  for (int i = 0; i < 20; ++i) step(256);
  const RequestId branch = fork(trunk, 160, {.num_answer = 10});  // waits: too little room
  step(256);
  EXPECT_EQ(scheduler_->num_running(), 1U);
  set_back(trunk, 140);
  run(64);
  EXPECT_TRUE(done_.contains(branch));
  expect_all_right();
}

TEST_F(SchedulerTest, RandomTrafficGivesEveryRequestItsOwnTokensAndLosesNoPage) {
  const auto seed = testing::test_seed();
  SCOPED_TRACE(::testing::Message() << "PONDER_TEST_SEED=" << seed);
  std::mt19937_64 rng(seed);
  set_pages(24);
  std::set<RequestId> removed;
  for (int round = 0; round < 3000; ++round) {
    if (rng() % 4 == 0) {
      add({.num_prompt = 1 + rng() % 400,
           .num_answer = 1 + static_cast<std::uint32_t>(rng() % 150),
           .priority = static_cast<Priority>(rng() % 3),
           .family = static_cast<TokenId>(rng() % 2)});
    }
    if (rng() % 20 == 0) add_shadow(prompt_of({.num_prompt = 1 + rng() % 400}, last_id_ + 1));
    const RequestId id{1 + rng() % std::max<std::uint64_t>(last_id_, 1)};
    const Request* known = scheduler_->find(id);
    const std::size_t length = known == nullptr ? 0 : known->tokens.size();
    if (rng() % 15 == 0 && scheduler_->remove(id) != nullptr) {
      removed.insert(id);
    } else if (rng() % 6 == 0 && length > 0) {
      fork(id, 1 + rng() % length, {.num_answer = 1 + static_cast<std::uint32_t>(rng() % 50)});
    } else if (rng() % 6 == 0 && length > 1) {
      set_back(id, 1 + rng() % (length - 1));
    }
    step(1 + rng() % 100);
  }
  run(64);
  while (scheduler_->num_shadow() > 0) step(64);
  EXPECT_EQ(done_.size() + removed.size(), last_id_);
  EXPECT_GT(scheduler_->counters().preemptions, 0U);
  expect_all_right();
  EXPECT_EQ(cache_->num_available(), 24U);
  cache_->clear();
  EXPECT_EQ(pool_->num_free(), 24U);
}

}  // namespace
}  // namespace ponder::engine
