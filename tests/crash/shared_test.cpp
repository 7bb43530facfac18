#include "tests/crash/shared.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>

#include "tests/crash/travel.h"
#include "tests/runtime/store_place.h"
#include "tests/runtime/support.h"

/// A slice of the crash matrix on PostgreSQL; scripts/crash_matrix --store postgres runs all of it.
namespace ponder::crash {
namespace {

constexpr std::uint64_t kSeed = 20261122;

class SharedCrashes : public ::testing::Test {
 protected:
  void SetUp() override {
    const Status started = matrix_.start_server();
    if (!started && started.error().code == Errc::not_found) {
      std::printf("SKIPPED: %s\n", started.error().message.c_str());
      std::fflush(nullptr);
      std::_Exit(runtime::test::StorePlace::kSkipped);
    }
    ASSERT_TRUE(started) << started.error().message;
    const Status twin = matrix_.make_twin();
    ASSERT_TRUE(twin) << twin.error().message;
  }
  void expect_clean(const Row& row, std::uint64_t attacks_min) {
    EXPECT_THAT(row.findings.notes, ::testing::IsEmpty()) << row.name;
    EXPECT_GE(row.kills + row.faults, attacks_min) << row.name;
  }
  runtime::test::TempDir dir_{scratch_root()};
  SharedMatrix matrix_{
      {PONDER_CRASH_WORKER, PONDER_FAULTS, PONDER_BINARY, "tools/library"}, dir_.path(), kSeed};
};

TEST_F(SharedCrashes, OfWorkersLeaveTheirSessionsToTheOthers) { expect_clean(matrix_.kills(6), 6); }

TEST_F(SharedCrashes, OfWorkersThatComeBackAfterTheirLeaseChangeNothing) {
  expect_clean(matrix_.stalls(6), 6);
}

TEST_F(SharedCrashes, OfTheServerLoseNothing) { expect_clean(matrix_.server_crashes(3), 3); }

TEST_F(SharedCrashes, OfAllKindsAtOnce) { expect_clean(matrix_.everything(6), 6); }

TEST_F(SharedCrashes, OfPonderWorkLeaveTripsThatOthersFinishWithWholeArtefacts) {
  TravelMatrix travel({PONDER_CRASH_WORKER, PONDER_FAULTS, PONDER_BINARY, "tools/library"},
                      dir_.path() / "travel", kSeed);
  const Status twin = travel.make_twin();
  ASSERT_TRUE(twin) << twin.error().message;
  expect_clean(travel.shared([this] { return matrix_.make_store(); }, 4), 4);
}

}  // namespace
}  // namespace ponder::crash
