// Forks and truncations with everything else that moves pages: drafts, the disk, preemption.

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "tests/engine/traffic.h"

namespace ponder::engine {
namespace {

class Branches : public EngineTraffic {
 protected:
  /// Runs the request until it has so many tokens of its answer.
  static void run_until(Engine& engine, const Outcome& outcome, std::size_t num_tokens) {
    while (outcome.tokens.size() < num_tokens) engine.step();
  }
  static std::vector<TokenId> first(std::vector<TokenId> tokens, std::size_t num_tokens) {
    tokens.resize(num_tokens);
    return tokens;
  }
};

TEST_F(Branches, ARequestThatIsSetBackGoesOnAsAFreshOneWouldToTheLastBit) {
  const auto start = prompt(100, 3);
  // In the prompt, at the end of a page, before the last token of the prompt, in the answer.
  for (const std::size_t length : {30U, 64U, 100U, 120U, 139U}) {
    SCOPED_TRACE(length);
    const auto engine = open();
    Outcome outcome;
    const auto id = engine->submit(request(start, 60), into(outcome));
    ASSERT_TRUE(id.has_value());
    run_until(*engine, outcome, 40);
    auto all = start;
    all.insert(all.end(), outcome.tokens.begin(), outcome.tokens.end());
    ASSERT_TRUE(engine->truncate(*id, length, 99).has_value());
    const std::uint64_t rows = engine->stats().rows_prefill + engine->stats().rows_decode;
    engine->step();
    EXPECT_EQ(engine->stats().rows_prefill + engine->stats().rows_decode, rows + 1);
    run_all(*engine);
    EXPECT_EQ(outcome.truncations, std::vector{length});
    EXPECT_EQ(outcome.reason, FinishReason::length);
    EXPECT_EQ(outcome.stats.tokens_prompt, std::min<std::size_t>(length, 100));
    EXPECT_EQ(outcome.stats.tokens_generated, 160 - outcome.stats.tokens_prompt);
    const auto num_more = static_cast<std::uint32_t>(160 - length);
    const Outcome fresh = run(*open(), request(first(all, length), num_more, 99));
    EXPECT_EQ(outcome.tokens, fresh.tokens);
    EXPECT_TRUE(same_bits(outcome.logits, fresh.logits));
  }
}

TEST_F(Branches, ATruncationComesInItsTurn) {
  const auto engine = open();
  Outcome trunk;
  Outcome branch;
  const auto id = engine->submit(request(prompt(50, 1), 30), into(trunk));
  run_until(*engine, trunk, 10);
  ASSERT_TRUE(engine->truncate(*id, 40, 2).has_value());
  ASSERT_TRUE(engine->fork(*id, 45, request({1}, 5), into(branch)).has_value());
  run_all(*engine);
  EXPECT_EQ(branch.error, "a fork after 45 tokens of a request that has 40");
  EXPECT_EQ(trunk.tokens.size(), 40U);
}

TEST_F(Branches, WhatCannotBeSetBackIsLeftAlone) {
  const auto engine = open();
  Outcome outcome;
  const auto id = engine->submit(request(prompt(20, 1), 5), into(outcome));
  EXPECT_FALSE(engine->truncate(*id, 0, 1).has_value());
  ASSERT_TRUE(engine->truncate(*id, 20, 1).has_value());
  run_all(*engine);
  ASSERT_TRUE(engine->truncate(*id, 3, 1).has_value());
  engine->step();
  EXPECT_TRUE(outcome.truncations.empty());
  EXPECT_EQ(outcome.tokens, run(*open(), request(prompt(20, 1), 5)).tokens);
}

TEST_F(Branches, AWaitingRequestCanBeSetBackToo) {
  const auto engine = open(/*num_pages=*/4);
  Outcome busy;
  Outcome waiting;
  ASSERT_TRUE(engine->submit(request(prompt(150, 1), 40), into(busy)).has_value());
  const auto id = engine->submit(request(prompt(100, 2), 30), into(waiting));
  engine->step();
  ASSERT_TRUE(engine->truncate(*id, 70, 5).has_value());
  run_all(*engine);
  EXPECT_EQ(waiting.tokens, run(*open(), request(first(prompt(100, 2), 70), 60, 5)).tokens);
}

/// What happens to a crowd of requests, by chance.
struct Chances {
  std::uint32_t draft_tokens = 0;
  bool spills = false;
  CacheDType cache_dtype = CacheDType::automatic;
};

class Crowd : public EngineTraffic, public ::testing::WithParamInterface<Chances> {
 protected:
  struct Member {
    std::vector<TokenId> prompt;
    GenerationRequest spec;
    Outcome outcome;
    std::uint64_t seed = 0;
    bool is_cancelled = false;
  };

  EngineOptions options(bool spills) {
    EngineOptions out;
    out.draft_tokens_max = GetParam().draft_tokens;
    out.cache_dtype = GetParam().cache_dtype;
    if (spills) out.spill_dir = dir_.path() / "spill";
    return out;
  }

  /// Plain decoding, one after the other and with room for everything.
  Outcome alone(const GenerationRequest& spec) {
    EngineOptions plain;
    plain.cache_dtype = GetParam().cache_dtype;
    if (plain_ == nullptr) plain_ = open(400, 64, plain);
    return run(*plain_, spec);
  }

  testing::TempDir dir_;
  std::unique_ptr<Engine> plain_;
};

TEST_P(Crowd, EveryMemberGetsTheTokensThatItGetsAlone) {
  const auto seed = testing::test_seed();
  SCOPED_TRACE(::testing::Message() << "PONDER_TEST_SEED=" << seed);
  std::mt19937_64 rng(seed);
  const auto engine = open(/*num_pages=*/12, 48, options(GetParam().spills));
  std::map<RequestId, std::unique_ptr<Member>> crowd;
  for (int step = 0; step < 150; ++step) {
    if (rng() % 6 == 0) {
      auto member = std::make_unique<Member>();
      member->seed = rng();
      member->prompt = prompt(1 + rng() % 300, static_cast<TokenId>(rng() % 3 + 10));
      const auto num_tokens = 1 + static_cast<std::uint32_t>(rng() % 60);
      member->spec = request(member->prompt, num_tokens, member->seed);
      member->spec.priority = static_cast<Priority>(rng() % 3);
      const auto id = engine->submit(member->spec, into(member->outcome));
      ASSERT_TRUE(id.has_value()) << id.error().message;
      crowd[*id] = std::move(member);
    }
    if (!crowd.empty() && rng() % 5 == 0) {
      const auto& [id, parent] =
          *std::next(crowd.begin(), static_cast<std::ptrdiff_t>(rng() % crowd.size()));
      const auto answered = parent->outcome.tokens;
      auto all = parent->prompt;
      all.insert(all.end(), answered.begin(), answered.end());
      const std::size_t length = 1 + rng() % all.size();
      if (parent->outcome.reason || parent->is_cancelled) continue;
      if (rng() % 3 == 0) {
        // It goes on to where it would have ended.
        if (length == all.size()) continue;
        const std::size_t most = parent->prompt.size() + parent->spec.tokens_generated_max;
        ASSERT_TRUE(engine->truncate(id, length, ++parent->seed).has_value());
        all.resize(length);
        parent->prompt = all;
        parent->spec.tokens_generated_max = static_cast<std::uint32_t>(most - length);
      } else if (rng() % 4 == 0) {
        engine->cancel(id);
        parent->is_cancelled = true;
      } else {
        auto branch = std::make_unique<Member>();
        branch->seed = rng();
        all.resize(length);
        branch->prompt = all;
        branch->spec = request({7}, 1 + static_cast<std::uint32_t>(rng() % 30), branch->seed);
        branch->spec.priority = static_cast<Priority>(rng() % 3);
        const auto branch_id = engine->fork(id, length, branch->spec, into(branch->outcome));
        ASSERT_TRUE(branch_id.has_value());
        branch->prompt.push_back(7);
        crowd[*branch_id] = std::move(branch);
      }
    }
    engine->step();
  }
  run_all(*engine);
  std::size_t num_checked = 0;
  for (const auto& [id, member] : crowd) {
    if (member->outcome.reason != FinishReason::length) continue;
    GenerationRequest spec = member->spec;
    spec.prompt = member->prompt;
    spec.sampling.seed = member->seed;
    const Outcome want = alone(spec);
    EXPECT_EQ(member->outcome.tokens, want.tokens) << static_cast<std::uint64_t>(id);
    EXPECT_TRUE(same_bits(member->outcome.logits, want.logits)) << static_cast<std::uint64_t>(id);
    ++num_checked;
  }
  EXPECT_GT(num_checked, 10U);
  EXPECT_GT(engine->stats().preemptions, 0U);
  if (GetParam().draft_tokens > 0) {
    EXPECT_GT(engine->stats().tokens_drafted, 0U);
  }
  if (GetParam().spills) {
    EXPECT_GT(engine->stats().spill_pages_written, 0U);
    EXPECT_GT(engine->stats().spill_pages_read, 0U);
  }
}

INSTANTIATE_TEST_SUITE_P(Everything, Crowd,
                         ::testing::Values(Chances{}, Chances{.draft_tokens = 2},
                                           Chances{.spills = true},
                                           Chances{.draft_tokens = 3, .spills = true},
                                           Chances{2, true, CacheDType::fp8}),
                         [](const auto& info) {
                           const Chances& c = info.param;
                           return std::string(c.draft_tokens > 0 ? "drafts" : "plain") +
                                  (c.spills ? "_spill" : "") +
                                  (c.cache_dtype == CacheDType::fp8 ? "_fp8" : "");
                         });

}  // namespace
}  // namespace ponder::engine
