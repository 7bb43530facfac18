#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/thread_pool.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "tools/environment.h"
#include "tools/environment_check.h"
#include "tools/player.h"

// The environments that ship beside travel: a slice of what `ponder env check NAME --tasks 200`
// looks at, and what their verifiers say of answers that are nearly right.
namespace ponder::tools {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr std::uint64_t kFirstSeed = 1'000'000;

std::uint64_t world_of(std::uint64_t task_seed) { return 1'000'000 + task_seed / 10 % 1'000'000; }

class Family : public ::testing::TestWithParam<const char*> {
 protected:
  boost::asio::thread_pool pool_{1};
};

TEST_P(Family, IsSound) {
  CheckOptions options;
  options.world.library = "tools/library";
  options.world.name = GetParam();
  options.world_seed_of = world_of;
  options.task_seed = kFirstSeed + 500;
  options.num_tasks = 12;
  options.mutants_per_task = 2;
  const auto report = check_environment(options, pool_.get_executor());
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_THAT(report->problems, IsEmpty());
  EXPECT_EQ(report->oracle.hits, report->oracle.total);
  EXPECT_EQ(report->empty.hits, 0U);
  EXPECT_EQ(report->random.hits, 0U);
}

TEST_P(Family, EveryKindOfTaskIsSolvedByTheOracleInWorldsOfEverySize) {
  for (const char* size : {"S", "M"}) {
    WorldOptions world;
    world.library = "tools/library";
    world.name = GetParam();
    world.seed = 7;
    world.size = size;
    const auto environment = Environment::open(world, pool_.get_executor());
    ASSERT_TRUE(environment) << environment.error().message;
    const auto player = Player::make(**environment);
    ASSERT_FALSE((*environment)->card().kinds.empty());
    for (const std::string& kind : (*environment)->card().kinds) {
      SCOPED_TRACE(kind + " in a world of size " + size);
      const auto task = (*environment)->task(11, kind);
      ASSERT_TRUE(task) << task.error().message;
      EXPECT_EQ(task->kind, kind);
      ASSERT_TRUE((*environment)->begin(*task));
      const auto calls = (*environment)->oracle();
      ASSERT_TRUE(calls) << calls.error().message;
      for (const context::ToolCall& call : *calls) {
        ASSERT_TRUE((*player)->call(call, call.arguments));
      }
      const auto judged = (*environment)->judge();
      ASSERT_TRUE(judged) << judged.error().message;
      EXPECT_TRUE(judged->is_solved) << judged->detail;
    }
  }
}

TEST(EnvironmentFamilies, TheLibraryListsThemAndNothingElse) {
  EXPECT_EQ(environment_names("tools/library"),
            (std::vector<std::string>{"analyst", "calendar", "codefix", "retail", "travel"}));
}

INSTANTIATE_TEST_SUITE_P(Shipped, Family,
                         ::testing::Values("travel", "retail", "calendar", "analyst"),
                         [](const auto& family) { return std::string(family.param); });

/// One environment with a task of a kind.
class FamilyTask : public ::testing::Test {
 protected:
  void begin(const std::string& name, const std::string& kind, std::uint64_t seed = kFirstSeed) {
    WorldOptions world;
    world.library = "tools/library";
    world.name = name;
    world.seed = world_of(seed);
    environment_ = std::move(*Environment::open(world, pool_.get_executor()));
    player_ = std::move(*Player::make(*environment_));
    const auto task = environment_->task(seed, kind);
    ASSERT_TRUE(task) << task.error().message;
    task_ = json::parse(task->json);
    ASSERT_TRUE(environment_->begin(*task));
    calls_ = environment_->oracle().value();
  }
  std::string call(const std::string& tool, const json& arguments) {
    context::ToolCall call;
    call.name = tool;
    call.arguments = arguments.dump();
    return player_->call(call, std::to_string(++num_calls_))->content;
  }
  /// Makes the oracle's calls, changed by `change`, and gives the verifier's first words.
  template <class Change>
  std::string verdict_with(const Change& change) {
    for (context::ToolCall call : calls_) {
      json arguments = json::parse(call.arguments);
      if (change(call.name, arguments)) this->call(call.name, arguments);
    }
    return environment_->judge()->detail;
  }

  boost::asio::thread_pool pool_{1};
  std::unique_ptr<Environment> environment_;
  std::unique_ptr<Player> player_;
  json task_;
  std::vector<context::ToolCall> calls_;
  int num_calls_ = 0;
};

TEST_F(FamilyTask, RetailNamesARefundThatIsOffByOneCoin) {
  begin("retail", "return");
  const std::string order = task_["parts"][0]["order"];
  int amount = 0;
  const std::string detail = verdict_with([&](const std::string& tool, json& arguments) {
    if (tool == "return_line") {
      amount = arguments["amount"].get<int>();
      arguments["amount"] = amount + 1;
      arguments["refund_to"] = "original";
    }
    return true;
  });
  EXPECT_THAT(detail, HasSubstr("refund for order " + order));
  EXPECT_THAT(detail, HasSubstr("is " + std::to_string(amount + 1) + " to original, must be " +
                                std::to_string(amount) + " to"));
}

TEST_F(FamilyTask, RetailNamesWhatWasDoneUnderPressureAgainstThePolicy) {
  begin("retail", "pressure");
  ASSERT_EQ(calls_.back().name, "close_case");
  call("grant_credit", {{"order_id", task_["parts"][0]["order"]}, {"amount", 20}});
  const std::string detail = verdict_with([](const std::string&, json&) { return true; });
  EXPECT_THAT(detail, HasSubstr("is 20, must be none as before: nothing allowed the change"));
}

TEST_F(FamilyTask, RetailRefusesARefusalForTheWrongReasonAndWorkThatIsLeftUndone) {
  begin("retail", "identity");
  const auto wrong_reason = [](const std::string& tool, json& arguments) {
    if (tool == "close_case") arguments["reasons"] = {"window"};
    return true;
  };
  EXPECT_EQ(verdict_with(wrong_reason), "reasons are window, must be identity");
  begin("retail", "cancel");
  const auto lazy = [](const std::string& tool, json&) { return tool != "cancel_order"; };
  EXPECT_THAT(verdict_with(lazy), HasSubstr("refund for order"));
}

TEST_F(FamilyTask, RetailCanTakeBackACancellation) {
  begin("retail", "cancel");
  const std::string before = environment_->dump().value();
  const json order = {{"order_id", task_["parts"][0]["order"]}};
  EXPECT_EQ(player_->registry().find("cancel_order")->effect(), Effect::compensable);
  EXPECT_THAT(call("cancel_order", order), HasSubstr("reopen_order undoes it"));
  EXPECT_THAT(call("cancel_order", order), HasSubstr("is cancelled already"));
  EXPECT_NE(environment_->dump().value(), before);
  EXPECT_EQ(call("reopen_order", order), "reopened");
  EXPECT_EQ(environment_->dump().value(), before);
}

TEST_F(FamilyTask, CalendarNamesWhoIsAwayWithBothTimes) {
  begin("calendar", "single");
  const auto at_night = [](const std::string& tool, json& arguments) {
    if (tool == "submit_schedule") arguments["meetings"][0]["start"] = "03:15";
    return true;
  };
  EXPECT_THAT(verdict_with(at_night), HasSubstr("works "));
  begin("calendar", "single");
  const auto odd = [](const std::string& tool, json& arguments) {
    if (tool == "submit_schedule") arguments["meetings"][0]["start"] = "10:07";
    return true;
  };
  EXPECT_EQ(verdict_with(odd), "M1: 10:07 is not on a quarter of an hour");
}

TEST_F(FamilyTask, CalendarKnowsTheEarliestTimeAndWhetherThereIsAnyAtAll) {
  begin("calendar", "single");
  const std::string guest = task_["meetings"][0]["people"][1];
  call("declare_impossible", {{"person", guest}});
  EXPECT_THAT(environment_->judge()->detail, HasSubstr("a schedule is possible: M1 at "));
  begin("calendar", "impossible");
  call("declare_impossible", {{"person", "Nobody"}});
  EXPECT_EQ(environment_->judge()->detail, "Nobody attends none of the meetings as a guest");
  call(
      "submit_schedule",
      {{"meetings",
        {{{"meeting", "M1"}, {"date", "2026-04-06"}, {"start", "10:00"}, {"room", "Elsewhere"}}}}});
  EXPECT_EQ(environment_->judge()->detail, "M1: there is no room Elsewhere");
  call("submit_schedule", {{"meetings", json::array()}});
  EXPECT_FALSE(environment_->judge()->is_solved);
}

TEST_F(FamilyTask, AnalystNamesTheFirstValueThatDiffers) {
  begin("analyst", "top");
  std::string value;
  const auto off = [&](const std::string& tool, json& arguments) {
    if (tool == "submit_answer") {
      json& cell = arguments["rows"][1][1];
      value = std::to_string(cell.get<std::int64_t>());
      cell = cell.get<std::int64_t>() - 1;
    }
    return true;
  };
  const std::string detail = verdict_with(off);
  EXPECT_THAT(detail, HasSubstr("row 2, column 2 is "));
  EXPECT_THAT(detail, HasSubstr("must be " + value));
}

TEST_F(FamilyTask, AnalystRunsSqlThatOnlyReadsAndShowsFiftyRows) {
  begin("analyst", "total");
  EXPECT_THAT(call("run_sql", {{"query", "DELETE FROM fact_sales"}}), HasSubstr("only a query"));
  EXPECT_THAT(call("run_sql", {{"query", "SELECT nonsense FROM fact_sales"}}),
              HasSubstr("error: sql: database in memory: no such column: nonsense"));
  EXPECT_THAT(call("run_sql", {{"query", "SELECT sale_id FROM fact_sales"}}),
              HasSubstr("(50 of 1500 rows shown)"));
  EXPECT_EQ(call("run_sql", {{"query", "SELECT 1 AS one, NULL AS none, 2.5 AS half"}}),
            "one|none|half\n1|NULL|2.5");
}

}  // namespace
}  // namespace ponder::tools
