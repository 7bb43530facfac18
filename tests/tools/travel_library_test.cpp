#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <boost/asio/thread_pool.hpp>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/tools/call_tool.h"
#include "tests/tools/script_folder.h"
#include "tools/environment.h"

// The travel environment that ships, through the host that ships.
namespace ponder::tools {
namespace {

using nlohmann::json;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr std::uint64_t kEvaluationSeed = 1'000'001;

class TravelLibrary : public ::testing::Test {
 protected:
  std::unique_ptr<Environment> open(std::uint64_t seed = kEvaluationSeed,
                                    const std::string& size = "S") {
    WorldOptions options;
    options.library = "tools/library";
    options.name = "travel";
    options.seed = seed;
    options.size = size;
    auto environment = Environment::open(options, pool_.get_executor());
    EXPECT_TRUE(environment) << environment.error().message;
    return std::move(*environment);
  }

  /// What the model reads when it calls `name`.
  static std::string call(Environment& environment, const std::string& name,
                          const json& arguments) {
    context::ToolCall call;
    call.name = name;
    call.arguments = arguments.dump();
    Registry registry;
    EXPECT_TRUE(environment.add_tools(registry));
    const ToolContext context(system_clock(), Deadline::never(), 100'000);
    std::vector<std::string> grants(1, "sql");
    auto output =
        tests::run_sync(tests::call_tool(registry, std::move(call), std::move(grants), context));
    EXPECT_TRUE(output) << output.error().message;
    return output ? output->content : "";
  }

  /// A plan as check_plan and submit_result take it.
  static std::string plan_text(const json& plan) {
    std::string text;
    for (const json& day : plan) {
      if (!text.empty()) text += "\n";
      for (const char* field : {"city", "hotel", "afternoon_restaurant", "afternoon_attraction",
                                "evening_restaurant"}) {
        if (std::string_view(field) != "city") text += "|";
        text += day.at(field).get<std::string>();
      }
    }
    return text;
  }

  boost::asio::thread_pool pool_{1};
};

TEST_F(TravelLibrary, TasksOfEveryKindHaveASolutionThatTheVerifierAcceptsOrAConflict) {
  auto environment = open();
  std::map<std::string, int> kinds;
  for (std::uint64_t seed = 0; seed < 80; ++seed) {
    auto task = environment->task(kEvaluationSeed + seed);
    ASSERT_TRUE(task) << task.error().message;
    SCOPED_TRACE(task->json);
    ++kinds[task->kind];
    ASSERT_TRUE(environment->begin(*task));
    auto solution = environment->solve();
    ASSERT_TRUE(solution) << solution.error().message;
    EXPECT_EQ(solution->is_feasible, task->kind != "impossible");
    if (!solution->is_feasible) {
      EXPECT_NE(solution->conflict, "");
      auto judgement = environment->judge();
      ASSERT_TRUE(judgement) << judgement.error().message;
      EXPECT_TRUE(judgement->is_solved);
      continue;
    }
    auto verification = environment->verify(solution->answer_json);
    ASSERT_TRUE(verification) << verification.error().message;
    EXPECT_TRUE(verification->is_ok) << ::testing::PrintToString(verification->violations);
  }
  EXPECT_EQ(kinds.size(), 8u) << ::testing::PrintToString(kinds);
}

TEST_F(TravelLibrary, ThePlainWordsOfATaskMeanTheSameTask) {
  auto environment = open();
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    auto task = environment->task(kEvaluationSeed + seed);
    ASSERT_TRUE(task) << task.error().message;
    SCOPED_TRACE(task->text);
    auto read = environment->task_from_text(task->text);
    ASSERT_TRUE(read) << read.error().message;
    const json drawn = json::parse(task->json);
    const json parsed = json::parse(read->json);
    for (const char* field : {"days", "origin", "cities", "constraints", "start_date"}) {
      EXPECT_EQ(parsed.value(field, json()), drawn.value(field, json())) << field;
    }
  }
}

TEST_F(TravelLibrary, APlanGoesThroughTheToolsAndIsJudgedSolved) {
  auto environment = open();
  int solved = 0;
  for (std::uint64_t seed = 0; seed < 25; ++seed) {
    auto task = environment->task(kEvaluationSeed + 500 + seed);
    ASSERT_TRUE(task) << task.error().message;
    SCOPED_TRACE(task->json);
    ASSERT_TRUE(environment->begin(*task));
    auto solution = environment->solve();
    if (!solution->is_feasible) continue;
    const json plan = {{"plan", plan_text(json::parse(solution->answer_json))}};
    const bool has_fault = task->kind == "tool_error";
    if (has_fault) call(*environment, "check_plan", plan);  // the first call of one tool fails
    EXPECT_THAT(call(*environment, "check_plan", plan), StartsWith("ok"));
    if (has_fault) call(*environment, "submit_result", json::object());
    EXPECT_THAT(call(*environment, "submit_result", json::object()), HasSubstr("submitted"));
    auto judgement = environment->judge();
    ASSERT_TRUE(judgement) << judgement.error().message;
    EXPECT_TRUE(judgement->is_solved) << judgement->detail;
    ++solved;
  }
  EXPECT_GT(solved, 15);
}

TEST_F(TravelLibrary, EveryToolAnswersAndSaysWhatItDoesNotKnow) {
  auto environment = open();
  Registry registry;
  ASSERT_TRUE(environment->add_tools(registry));
  EXPECT_EQ(registry.specs().size(), 16u);  // the report's 15 and check_plan
  const auto first_name = [&](const std::string& tool) {
    const std::string list = call(*environment, tool, {{"city", "Hangzhou"}});
    const auto begin = list.find_first_not_of(' ');
    return list.substr(begin, list.find('|') - begin);
  };
  EXPECT_THAT(call(*environment, "get_all_cities", json::object()), HasSubstr("Hangzhou"));
  EXPECT_THAT(call(*environment, "get_inter_city_transport", {{"city", "Hangzhou"}}),
              HasSubstr("|"));
  EXPECT_THAT(call(*environment, "get_weather_by_city_date",
                   {{"city", "Hangzhou"}, {"date", "2025-10-01"}}),
              HasSubstr("|"));
  std::vector<std::string> places;
  for (const std::string& kind : std::vector<std::string>{"hotel", "restaurant", "attraction"}) {
    places.push_back(first_name("get_all_" + kind + "s_by_city"));
    const std::string& name = places.back();
    EXPECT_THAT(call(*environment, "get_city_by_" + kind, {{"name", name}}), HasSubstr("Hangzhou"));
    EXPECT_THAT(
        call(*environment, "get_infos_by_" + kind, {{"info_keywords", "rating"}, {"name", name}}),
        HasSubstr("rating"));
    EXPECT_THAT(call(*environment, "get_city_by_" + kind, {{"name", "Nowhere " + kind}}),
                StartsWith("error: unknown"));
    EXPECT_THAT(
        call(*environment, "get_infos_by_" + kind, {{"info_keywords", "smell"}, {"name", name}}),
        HasSubstr("error: unknown keyword smell"));
    EXPECT_THAT(call(*environment, "get_all_" + kind + "s_by_city", {{"city", "Atlantis"}}),
                HasSubstr("error: unknown city Atlantis"));
  }
  EXPECT_THAT(call(*environment, "get_infos_by_city",
                   {{"info_keywords", "province"}, {"name", "Hangzhou"}}),
              HasSubstr("Zhejiang"));
  EXPECT_THAT(call(*environment, "get_city_transport",
                   {{"city", "Hangzhou"}, {"from", places[0]}, {"to", places[2]}}),
              StartsWith("taxi|"));
  EXPECT_THAT(call(*environment, "get_weather_by_city_date",
                   {{"city", "Hangzhou"}, {"date", "2025-02-30"}}),
              HasSubstr("error: bad date 2025-02-30"));
}

TEST_F(TravelLibrary, ARequestThatCannotBeReadIsAClearError) {
  auto environment = open();
  const auto doubt = [&](const std::string& text) {
    auto task = environment->task_from_text(text);
    EXPECT_FALSE(task) << text << " -> " << task->json;
    return task ? "" : task.error().message;
  };
  EXPECT_THAT(doubt("Three days from Atlantis."), HasSubstr("the city Atlantis"));
  EXPECT_THAT(doubt("Nine days from Hangzhou."), HasSubstr("a trip of 9 days"));
  EXPECT_THAT(doubt("Two days from Hangzhou, 2025-02-30."), HasSubstr("the date 2025-02-30"));
  EXPECT_THAT(doubt(""), HasSubstr("how many days"));
  auto task =
      environment->task_from_text("Three days from Hangzhou, 2025-10-01, hotels up to 700.");
  ASSERT_TRUE(task) << task.error().message;
  const json parsed = json::parse(task->json);
  EXPECT_EQ(parsed["days"], 3);
  EXPECT_EQ(parsed["origin"], "Hangzhou");
  EXPECT_EQ(parsed["constraints"], json({{"hotel_max", 700}}));
}

TEST_F(TravelLibrary, ArtefactsAreWellFormedAndVerifyWithoutASession) {
  auto environment = open(kEvaluationSeed, "M");
  auto task = environment->task(kEvaluationSeed, "three_day");
  ASSERT_TRUE(task) << task.error().message;
  ASSERT_TRUE(environment->begin(*task));
  auto solution = environment->solve();
  ASSERT_TRUE(solution->is_feasible) << solution->conflict;
  const json plan = {{"plan", plan_text(json::parse(solution->answer_json))}};
  call(*environment, "submit_result", plan);
  auto files = environment->artefacts();
  ASSERT_TRUE(files) << files.error().message;
  const tests::ScriptFolder out;
  std::map<std::string, std::string> by_name;
  for (const auto& file : *files) {
    out.write(file.file_name, file.content);
    by_name[file.file_name] = file.content;
  }
  EXPECT_EQ(by_name.size(), 5u);
  const json itinerary = json::parse(by_name["itinerary.json"]);
  ASSERT_EQ(itinerary.size(), 3u);
  EXPECT_EQ(itinerary[0].size(), 6u);  // time, city, hotel, two restaurants, attraction
  const json proof = json::parse(by_name["proof.json"]);
  EXPECT_EQ(proof["ok"], true);
  EXPECT_EQ(proof["world"]["size"], "M");
  EXPECT_THAT(by_name["trip.ics"], StartsWith("BEGIN:VCALENDAR\r\n"));
  EXPECT_THAT(by_name["trip.ics"], EndsWith("END:VCALENDAR\r\n"));
  EXPECT_THAT(by_name["budget.csv"], StartsWith("day,date,item,name,cny\n"));
  EXPECT_THAT(by_name["itinerary.md"], StartsWith("# 3 days"));

  const auto check = [&] {
    return verify_artefacts("tools/library", out.path(), pool_.get_executor());
  };
  auto verification = check();
  ASSERT_TRUE(verification) << verification.error().message;
  EXPECT_TRUE(verification->is_ok) << ::testing::PrintToString(verification->violations);
  out.write("budget.csv", by_name["budget.csv"] + "tip,1\n");
  EXPECT_THAT(check().error().message, HasSubstr("budget.csv does not say"));
  json changed = itinerary;
  changed[1]["hotel"] = changed[0]["hotel"];
  out.write("itinerary.json", changed.dump());
  verification = check();
  ASSERT_TRUE(verification) << verification.error().message;
  EXPECT_FALSE(verification->is_ok);
  EXPECT_FALSE(verification->violations.empty());
}

TEST_F(TravelLibrary, ADamagedPlanIsAViolationOrAnErrorButNeverACrash) {
  auto environment = open();
  auto task = environment->task(kEvaluationSeed);
  ASSERT_TRUE(environment->begin(*task));
  for (const char* plan : {"[]", "{}", "3", "null", "[3]", "[{}]", "[{\"city\": 3}]", "\"x\""}) {
    auto verification = environment->verify(plan);
    EXPECT_FALSE(verification && verification->is_ok) << plan;
  }
  for (const char* text : {"", "|", "a|b|c|d|e", "a|b", "a|b|c|d|e|f|g", "\n\n", "||||"}) {
    EXPECT_THAT(call(*environment, "check_plan", {{"plan", text}}), Not(StartsWith("ok"))) << text;
  }
}

TEST_F(TravelLibrary, TheSameSeedGivesTheSameWorldTasksAndPlans) {
  auto first = open();
  auto second = open();
  for (std::uint64_t seed = 1; seed < 12; ++seed) {
    auto a = first->task(seed);
    auto b = second->task(seed);
    ASSERT_TRUE(a && b);
    EXPECT_EQ(a->json, b->json);
    ASSERT_TRUE(first->begin(*a));
    ASSERT_TRUE(second->begin(*b));
    EXPECT_EQ(first->solve()->answer_json, second->solve()->answer_json);
  }
  auto other = open(kEvaluationSeed + 1);
  EXPECT_NE(call(*first, "get_all_hotels_by_city", {{"city", "Hangzhou"}}),
            call(*other, "get_all_hotels_by_city", {{"city", "Hangzhou"}}));
}

}  // namespace
}  // namespace ponder::tools
