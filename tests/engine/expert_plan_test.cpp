// Which layers' experts go to a device and which stay, and what is said of it.

#include "engine/expert_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ponder::engine {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr std::uint64_t kGB = 1'000'000'000;

/// Three layers of experts of 10 GB each beside 20 GB.
DeviceNeed three_layers() {
  return {.weight_bytes = 15 * kGB,
          .workspace_bytes = 1 * kGB,
          .cache_bytes = 4 * kGB,
          .experts = {{3, 10 * kGB}, {4, 10 * kGB}, {5, 10 * kGB}}};
}
DeviceRoom room(std::uint64_t bytes_free) { return {"a device", 64 * kGB, bytes_free, 1000 * kGB}; }

std::size_t num_on_device(ExpertPlacement placement, std::uint64_t bytes_free) {
  const auto plan = plan_experts(three_layers(), placement, room(bytes_free));
  EXPECT_TRUE(plan.has_value()) << plan.error().message;
  return plan ? plan->num_on_device : 99;
}

TEST(ExpertPlan, AutoTakesAsManyLayersAsFitBesideTheSpare) {
  EXPECT_EQ(num_on_device(ExpertPlacement::automatic, 60 * kGB), 3U);
  EXPECT_EQ(num_on_device(ExpertPlacement::automatic, 51 * kGB), 3U);
  EXPECT_EQ(num_on_device(ExpertPlacement::automatic, 51 * kGB - 1), 2U);
  EXPECT_EQ(num_on_device(ExpertPlacement::automatic, 31 * kGB), 1U);
  EXPECT_EQ(num_on_device(ExpertPlacement::automatic, 31 * kGB - 1), 0U);
  EXPECT_EQ(num_on_device(ExpertPlacement::automatic, 21 * kGB), 0U);
}

TEST(ExpertPlan, OneSideOnlyIsTakenAtItsWord) {
  EXPECT_EQ(num_on_device(ExpertPlacement::host, 60 * kGB), 0U);
  EXPECT_EQ(num_on_device(ExpertPlacement::device, 51 * kGB), 3U);
}

/// With the spare, whatever the placement.
TEST(ExpertPlan, WhatDoesNotFitIsRefusedWithTheNumbers) {
  for (const auto placement : {ExpertPlacement::automatic, ExpertPlacement::host}) {
    const auto plan = plan_experts(three_layers(), placement, room(21 * kGB - 1));
    ASSERT_FALSE(plan.has_value());
    EXPECT_EQ(plan.error().code, Errc::exhausted);
    EXPECT_EQ(
        plan.error().message,
        "a device: no memory for the model even without its routed experts: 20.00 GB "
        "(weights 15.00 GB, workspace 1.00 GB, cache 4.00 GB) of 21.00 GB free on a device, of "
        "which 1.00 GB are left to its driver");
  }
  const auto plan = plan_experts(three_layers(), ExpertPlacement::device, room(51 * kGB - 1));
  ASSERT_FALSE(plan.has_value());
  EXPECT_THAT(plan.error().message, AllOf(HasSubstr("no memory for 50.00 GB (weights 15.00 GB"),
                                          HasSubstr("routed experts 30.00 GB) of 51.00 GB free")));
}

TEST(ExpertPlan, SaysWhichLayersLieWhere) {
  const auto text = [](std::uint64_t bytes_free) {
    return plan_experts(three_layers(), ExpertPlacement::automatic, room(bytes_free))->text;
  };
  EXPECT_EQ(text(25 * kGB),
            "routed experts of layers 3..5 (30.00 GB) in host memory; on the GPU 20.00 GB (weights "
            "15.00 GB, workspace 1.00 GB, cache 4.00 GB) of 25.00 GB free on a device");
  EXPECT_THAT(
      text(45 * kGB),
      HasSubstr("routed experts of layers 3..4 (20.00 GB) on the GPU, of layer 5 (10.00 GB) "
                "in host memory; on the GPU 40.00 GB"));
  EXPECT_THAT(text(60 * kGB), HasSubstr("all weights on the GPU: 50.00 GB"));
}

TEST(ExpertPlan, SaysWhenTheHostCannotHoldThemEither) {
  const auto text = [](std::uint64_t host_bytes_free) {
    DeviceRoom small = room(45 * kGB);
    small.host_bytes_free = host_bytes_free;
    return plan_experts(three_layers(), ExpertPlacement::automatic, small)->text;
  };
  EXPECT_THAT(text(10 * kGB - 1),
              HasSubstr("of layer 5 (10.00 GB) in host memory, of which 10.00 GB are available: "
                        "read from disk at almost every token; on the GPU"));
  EXPECT_THAT(text(10 * kGB), HasSubstr("of layer 5 (10.00 GB) in host memory; on the GPU"));
}

TEST(ExpertPlan, AModelWithoutExpertsFitsOrDoesNot) {
  DeviceNeed need = three_layers();
  need.experts.clear();
  EXPECT_TRUE(plan_experts(need, ExpertPlacement::automatic, room(21 * kGB)).has_value());
  const auto refused = plan_experts(need, ExpertPlacement::automatic, room(kGB));
  ASSERT_FALSE(refused.has_value());
  EXPECT_THAT(refused.error().message, HasSubstr("no memory for 20.00 GB (weights"));
}

}  // namespace
}  // namespace ponder::engine
