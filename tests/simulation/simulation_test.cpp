#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include "tests/runtime/support.h"
#include "tests/simulation/world.h"

/// What a simulation is worth: that it can be repeated, and that much happens in it.
namespace ponder::simulation {
namespace {

class SimulationTest : public ::testing::Test {
 protected:
  SimulationTest() : before_(std::filesystem::current_path()) {
    std::filesystem::current_path(folder_.path());
  }
  ~SimulationTest() override { std::filesystem::current_path(before_); }

  static Outcome run(std::uint64_t seed) { return simulate(Plan(seed), "."); }

  runtime::test::TempDir folder_;
  std::filesystem::path before_;
};

TEST_F(SimulationTest, TheSameSeedTellsTheSameStory) {
  std::set<std::uint64_t> stories;
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    const Outcome first = run(seed);
    const Outcome second = run(seed);
    EXPECT_EQ(first.hash, second.hash) << "seed " << seed;
    EXPECT_EQ(first.steps, second.steps) << "seed " << seed;
    stories.insert(first.hash);
  }
  EXPECT_EQ(stories.size(), 30u) << "different seeds tell different ones";
}

TEST_F(SimulationTest, EveryFaultIsInSomePlanAndOutOfAnother) {
  std::bitset<kNumFaults> seen;
  std::bitset<kNumFaults> unseen;
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    seen |= Plan(seed).faults;
    unseen |= ~Plan(seed).faults;
  }
  EXPECT_TRUE(seen.all());
  EXPECT_TRUE(unseen.all());
}

TEST_F(SimulationTest, WithoutFaultsSessionsHaveTheirTurns) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Plan plan(seed);
    plan.faults.reset();
    const Outcome outcome = simulate(plan, ".");
    EXPECT_FALSE(outcome.violation) << outcome.violation->what;
    // Begun, and in each turn a message, a request and an end at the least.
    EXPECT_GE(outcome.events, plan.num_sessions * (1 + 3 * plan.turns)) << "seed " << seed;
  }
}

/// A sync fails, the system forgets what it could not write, later syncs succeed, the power is cut.
TEST_F(SimulationTest, NothingIsLostBehindASyncThatFailed) {
  for (const std::uint64_t seed : {801159, 802289, 802520, 802644}) {
    const Outcome outcome = run(seed);
    EXPECT_FALSE(outcome.violation) << "seed " << seed << ": " << outcome.violation->what;
  }
}

/// The log says that a sub-agent was cancelled before it began; the power is cut; its call is made
/// again.
TEST_F(SimulationTest, ASubAgentThatGaveItsBudgetBackIsNotBegunAnew) {
  const Outcome outcome = run(14223);
  EXPECT_FALSE(outcome.violation) << outcome.violation->what;
}

TEST_F(SimulationTest, WhatTheWitnessOnceTookForAFaultIsNone) {
  for (const std::uint64_t seed : {
           500582,   // a fork's task is longer than a tool's result may be
           1003119,  // a sub-agent's end was written, and the process died before it heard of it
           1012010,  // beside a rival it is unknown whose request comes next
           1021381,  // read after a failed sync, gone with the power
           1022625,  // a sub-agent that begins anew after a power cut, and a second cut
           3017169,  // the same, of a fork
           3012720,  // where an event was that need not last, another is, once refused
           530576,   // a process hears of its write when a rival has gone on to other calls
       }) {
    const Outcome outcome = run(seed);
    EXPECT_FALSE(outcome.violation) << "seed " << seed << ": " << outcome.violation->what;
  }
}

}  // namespace
}  // namespace ponder::simulation
