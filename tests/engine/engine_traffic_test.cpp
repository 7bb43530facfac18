#include <gtest/gtest.h>

#include <map>
#include <random>

#include "engine/inbox.h"
#include "tests/engine/traffic.h"

/// Many requests at once: what one gets must not depend on the others.
namespace ponder::engine {
namespace {

TEST_F(EngineTraffic, AForkedRequestContinuesAsTheWholeWouldToTheLastBit) {
  const auto engine = open();
  Outcome trunk;
  const auto id = engine->submit(request(prompt(100, 3), 60), into(trunk));
  ASSERT_TRUE(id.has_value());
  while (trunk.tokens.size() < 40) engine->step();
  const std::uint64_t used = engine->stats().cache_pages_used;
  std::vector<TokenId> all = prompt(100, 3);
  all.insert(all.end(), trunk.tokens.begin(), trunk.tokens.end());
  // In its middle, at the end of a page, before the last token, and after all of them.
  const std::vector<std::size_t> lengths = {30, 64, 128, 139, all.size()};
  std::vector<Outcome> branches(lengths.size());
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    ASSERT_TRUE(engine->fork(*id, lengths[i], request({5, 6, 7}, 10, 20 + i), into(branches[i])));
  }
  engine->step();
  EXPECT_LE(engine->stats().cache_pages_used, used + lengths.size() + 1);  // the last page of each
  run_all(*engine);
  EXPECT_EQ(trunk.tokens.size(), 60U);
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    SCOPED_TRACE(lengths[i]);
    EXPECT_EQ(branches[i].stats.tokens_cached, std::min<std::size_t>(lengths[i], 139));
    std::vector<TokenId> whole(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(lengths[i]));
    whole.insert(whole.end(), {5, 6, 7});
    const Outcome alone = run(*open(), request(whole, 10, 20 + i));
    EXPECT_EQ(branches[i].tokens, alone.tokens);
    EXPECT_TRUE(same_bits(branches[i].logits, alone.logits));
  }
}

TEST_F(EngineTraffic, AForkOfWhatDoesNotExistEndsWithTheReason) {
  const auto engine = open();
  Outcome trunk;
  Outcome beyond;
  Outcome late;
  const auto id = engine->submit(request(prompt(20, 1), 5), into(trunk));
  engine->step();
  ASSERT_TRUE(engine->fork(*id, 50, request({1}, 5), into(beyond)).has_value());
  run_all(*engine);
  EXPECT_EQ(beyond.reason, FinishReason::failed);
  EXPECT_EQ(beyond.error, "a fork after 50 tokens of a request that has 21");
  ASSERT_TRUE(engine->fork(*id, 20, request({1}, 5), into(late)).has_value());
  run_all(*engine);
  EXPECT_EQ(late.error, "the request to fork has ended");
  EXPECT_FALSE(engine->has_work());
}

TEST_F(EngineTraffic, AnExpiredRequestEndsWithItsReasonWhetherItWaitsOrRuns) {
  const auto engine = open();
  Outcome running;
  Outcome patient;
  GenerationRequest r = request(prompt(100, 1), 50);
  r.deadline = Deadline::after(clock_, std::chrono::milliseconds(500));
  ASSERT_TRUE(engine->submit(r, into(running)).has_value());
  ASSERT_TRUE(engine->submit(request(prompt(30, 2), 5), into(patient)).has_value());
  engine->step();
  engine->step();
  clock_.advance(std::chrono::milliseconds(500));
  engine->step();
  EXPECT_EQ(running.reason, FinishReason::expired);
  EXPECT_EQ(running.error,
            "the deadline passed 500 ms after the request came, with 97 of 100 prompt tokens "
            "computed and 0 tokens generated");
  run_all(*engine);
  EXPECT_EQ(patient.reason, FinishReason::length);
  EXPECT_EQ(engine->stats().expirations, 1U);
  const auto refused = engine->submit(r, into(running));
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, Errc::deadline);
}

TEST_F(EngineTraffic, AFullQueueRefusesWithItsLimit) {
  EngineOptions options;
  options.requests_waiting_max = 3;
  const auto engine = open(400, 64, options);
  std::vector<Outcome> outcomes(4);
  for (std::size_t i = 0; i < 3; ++i) {
    ASSERT_TRUE(engine->submit(request(prompt(20, 1), 2), into(outcomes[i])).has_value());
  }
  const auto refused = engine->submit(request(prompt(20, 1), 2), into(outcomes[3]));
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, Errc::exhausted);
  EXPECT_EQ(refused.error().message, "3 requests wait already, the limit is 3");
  engine->step();
  EXPECT_TRUE(engine->submit(request(prompt(20, 1), 2), into(outcomes[3])).has_value());
  run_all(*engine);
  for (const Outcome& outcome : outcomes) EXPECT_EQ(outcome.reason, FinishReason::length);
}

TEST_F(EngineTraffic, RequestsThatAStepHasTakenAndNotYetCountedFillTheQueueToo) {
  Inbox inbox(2);
  const CacheLayout layout(testing::tiny_config(), kernels::DType::f32);
  auto pool = PagePool::create(layout, layout.page_bytes);
  const auto submit = [&] {
    return inbox.submit(std::make_unique<Request>(RequestId{}, request(prompt(5, 1), 1),
                                                  RequestCallbacks{}, 6, *pool));
  };
  EXPECT_TRUE(submit().has_value());
  EXPECT_TRUE(submit().has_value());
  const Inbox::Contents taken = inbox.take();
  EXPECT_EQ(taken.messages.size(), 2U);
  EXPECT_FALSE(submit().has_value());
  inbox.publish(EngineStats{}, 0);  // both run now
  EXPECT_TRUE(submit().has_value());
}

TEST_F(EngineTraffic, IdleTimeMakesTheNextPromptWarm) {
  const auto engine = open();
  const auto history = prompt(200, 9);
  auto next = history;
  next.insert(next.end(), {4, 5, 6, 7});
  ASSERT_TRUE(engine->prefill_when_idle(history).has_value());
  EXPECT_FALSE(engine->has_work());
  run_idle(*engine);
  EXPECT_EQ(engine->stats().rows_shadow, 200U);
  const Outcome warm = run(*engine, request(next, 5));
  EXPECT_EQ(warm.stats.tokens_cached, 200U);
  EXPECT_EQ(warm.stats.tokens_shadow, 200U);
  EXPECT_EQ(engine->stats().shadow_prefills, 1U);
  EXPECT_EQ(engine->stats().shadow_hits, 1U);
  EXPECT_EQ(engine->stats().tokens_shadow_saved, 200U);
  const Outcome cold = run(*open(), request(next, 5));
  EXPECT_EQ(warm.tokens, cold.tokens);
  EXPECT_TRUE(same_bits(warm.logits, cold.logits));
  EXPECT_FALSE(engine->prefill_when_idle({}).has_value());
  EXPECT_FALSE(engine->prefill_when_idle({5000}).has_value());
}

/// The request whose fate is watched, in the middle of random others that come, fork, are cancelled
/// and take its pages away.
TEST_F(EngineTraffic, ARequestGivesTheSameBitsAloneAndInAChangingCrowd) {
  const auto seed = testing::test_seed();
  SCOPED_TRACE(::testing::Message() << "PONDER_TEST_SEED=" << seed);
  std::mt19937_64 rng(seed);
  GenerationRequest watched = request(prompt(150, 11), 40, 77);
  watched.priority = Priority::low;
  const Outcome alone = run(*open(), watched);
  for (const std::uint32_t rows : {7U, 48U}) {
    const auto engine = open(/*num_pages=*/12, rows);
    std::map<RequestId, std::unique_ptr<Outcome>> crowd;
    Outcome outcome;
    bool is_submitted = false;
    for (int step = 0; !outcome.reason; ++step) {
      if (step == 3) is_submitted = engine->submit(watched, into(outcome)).has_value();
      if (step < 400 && rng() % 5 == 0) {
        GenerationRequest r = request(prompt(1 + rng() % 300, static_cast<TokenId>(rng() % 3 + 10)),
                                      1 + static_cast<std::uint32_t>(rng() % 60), rng());
        r.priority = static_cast<Priority>(rng() % 3);
        auto other = std::make_unique<Outcome>();
        const bool forks = !crowd.empty() && rng() % 3 == 0;
        const auto parent = forks ? std::prev(crowd.end())->first : RequestId{};
        r.prompt.resize(std::min<std::size_t>(r.prompt.size(), forks ? 30 : 300));
        const auto id = forks ? engine->fork(parent, rng() % 20, r, into(*other))
                              : engine->submit(r, into(*other));
        ASSERT_TRUE(id.has_value()) << id.error().message;
        crowd[*id] = std::move(other);
      }
      if (!crowd.empty() && rng() % 9 == 0) {
        engine->cancel(
            std::next(crowd.begin(), static_cast<std::ptrdiff_t>(rng() % crowd.size()))->first);
      }
      if (rng() % 25 == 0) {
        ASSERT_TRUE(engine->prefill_when_idle(prompt(1 + rng() % 200, 11)).has_value());
      }
      engine->step();
    }
    ASSERT_TRUE(is_submitted);
    EXPECT_EQ(outcome.reason, FinishReason::length);
    EXPECT_EQ(outcome.tokens, alone.tokens) << "batches of " << rows;
    EXPECT_TRUE(same_bits(outcome.logits, alone.logits)) << "batches of " << rows;
    EXPECT_GT(engine->stats().preemptions, 0U);
    run_all(*engine);
  }
}

}  // namespace
}  // namespace ponder::engine
