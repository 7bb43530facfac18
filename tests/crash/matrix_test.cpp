#include "tests/crash/matrix.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/crash/travel.h"
#include "tests/runtime/support.h"

/// A slice of the crash matrix, small enough for every change; scripts/crash_matrix runs all of it.
namespace ponder::crash {
namespace {

constexpr std::uint64_t kSeed = 20261122;

Programs programs() { return {PONDER_CRASH_WORKER, PONDER_FAULTS, PONDER_BINARY, "tools/library"}; }

void expect_clean(const Row& row, std::uint64_t kills_min) {
  EXPECT_THAT(row.findings.notes, ::testing::IsEmpty()) << row.name;
  EXPECT_GE(row.kills, kills_min) << row.name;
}

class WorkerCrashes : public ::testing::Test {
 protected:
  void SetUp() override {
    const Status twin = matrix_.make_twin();
    ASSERT_TRUE(twin) << twin.error().message;
  }
  runtime::test::TempDir dir_{scratch_root()};
  WorkerMatrix matrix_{programs(), dir_.path(), kSeed};
};

TEST_F(WorkerCrashes, AtEventBoundaries) { expect_clean(matrix_.every_checkpoint(41), 8); }

TEST_F(WorkerCrashes, BeforeCallsThatChangeFiles) {
  expect_clean(matrix_.every_call("kill", 83), 6);
}

TEST_F(WorkerCrashes, InTheMiddleOfWrites) { expect_clean(matrix_.every_call("tear", 89), 6); }

TEST_F(WorkerCrashes, ByPowerFailure) { expect_clean(matrix_.every_call("power", 79), 6); }

TEST_F(WorkerCrashes, WhileItRecoversFromACrash) {
  expect_clean(matrix_.every_call_of_recovery("kill", 67), 6);
}

TEST_F(WorkerCrashes, OnADiskThatIsFullOrFailsOrWithAClockThatJumps) {
  for (const char* action : {"enospc", "eio", "eio-once", "clock"}) {
    const Row row = matrix_.every_failure(action, 31);
    expect_clean(row, 0);
    EXPECT_EQ(row.faults, row.rounds) << action;
    EXPECT_GT(row.rounds, 0U) << action;
  }
}

TEST_F(WorkerCrashes, AtRandomInstantsWithSeveralSessionsAndProcessesOnOneStore) {
  expect_clean(matrix_.random_instants(20), 20);
}

Command shell(const std::string& script) {
  Command command;
  command.words = {"/bin/sh", "-c", script};
  return command;
}

TEST(ProgramsSideBySide, AreLeftAloneAsLongAsOneOfThemSaysSomething) {
  const auto ended = run_together(
      {shell("for n in 1 2 3 4 5 6 7 8; do echo $n; sleep 0.5; done"), shell("sleep 3.9; exit 5")},
      std::chrono::milliseconds(3500));
  EXPECT_EQ(ended[0].status, 0);
  EXPECT_EQ(ended[1].status, 5);
}

TEST(ProgramsSideBySide, AreEndedWhenNoneSaysAnything) {
  const auto ended = run_together({shell("echo begun; exec sleep 1000"), shell("exit 3")},
                                  std::chrono::milliseconds(300));
  EXPECT_EQ(ended[0].status, kHung);
  EXPECT_EQ(ended[0].output, "begun\n");
  EXPECT_EQ(ended[1].status, 3);
}

class TravelCrashes : public ::testing::Test {
 protected:
  void SetUp() override {
    const Status twin = matrix_.make_twin();
    ASSERT_TRUE(twin) << twin.error().message;
  }
  runtime::test::TempDir dir_{scratch_root()};
  TravelMatrix matrix_{programs(), dir_.path(), kSeed};
};

TEST_F(TravelCrashes, LeaveATripThatIsFinishedByResumingWithWholeArtefacts) {
  for (const char* action : {"kill", "tear", "power"}) {
    expect_clean(matrix_.every_call(action, 61), 1);
  }
}

TEST_F(TravelCrashes, OnAFullDiskTheRunSaysSoAndGoesOnLater) {
  expect_clean(matrix_.every_failure("enospc", 67), 0);
}

TEST_F(TravelCrashes, AtRandomInstants) { expect_clean(matrix_.random_instants(4), 4); }

}  // namespace
}  // namespace ponder::crash
