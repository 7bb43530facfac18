#include "runtime/session/live_values.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <functional>

#include "runtime/agent/replay.h"
#include "tests/runtime/agent_fixture.h"

/// What tools say their parameters can be, on its way into requests and the log.
namespace ponder::runtime {
namespace {

using test::FakeTool;
using test::SaidValues;
using test::says;
using Said = std::vector<tools::ParameterValues>;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr const char* kDoor =
    R"({"type":"object","properties":{"door":{"type":"string"},"n":{"type":"integer"},)"
    R"("mode":{"type":"string","enum":["a"]}}})";

std::vector<std::string> many(std::size_t count) {
  std::vector<std::string> values;
  for (std::size_t i = 0; i < count; ++i) values.push_back("value " + std::to_string(i));
  return values;
}

TEST(LiveValueBounds, OnlyStringsThatAToolMayHaveAreTaken) {
  const context::ToolSpec spec{"open", "", kDoor};
  const auto problem = [&](const std::string& parameter, std::vector<std::string> values) {
    return problem_with({"open", parameter, std::move(values)}, spec);
  };
  EXPECT_EQ(problem("door", {"red"}), "");
  EXPECT_EQ(problem("door", many(kLiveValuesMax)), "");
  EXPECT_EQ(problem("window", {"red"}), "the tool has no such parameter");
  EXPECT_EQ(problem("n", {"1"}), "not a string parameter");
  EXPECT_EQ(problem("mode", {"a"}), "the parameter has an enum of its own");
  EXPECT_EQ(problem("door", {}), "no values");
  EXPECT_EQ(problem("door", many(5000)), "5000 values, at most 512 can be");
  EXPECT_EQ(problem("door", {std::string(257, 'x')}), "a value of 257 bytes, at most 256 can be");
  EXPECT_EQ(problem("door", {"\xff"}), "a value that is not UTF-8");
  EXPECT_EQ(problem_with({"open", "door", {"red"}}, {"open", "", "no JSON"}),
            "the tool has no such parameter");
}

class LiveValuesTest : public test::AgentFixture {
 protected:
  /// However slow the machine is, no deadline passes.
  explicit LiveValuesTest(std::chrono::milliseconds ahead = std::chrono::hours(1)) {
    clock_.advance(ahead);
  }

  FakeTool& add(const std::string& name, FakeTool::Knows knows,
                std::vector<std::string> capabilities = {}) {
    auto tool = std::make_unique<FakeTool>(name, tools::Effect::pure, test::echo, &journal_,
                                           std::move(capabilities));
    tool->set_parameters(kDoor);
    tool->knows = std::move(knows);
    FakeTool& out = *tool;
    PONDER_ASSERT(registry_.add(std::move(tool)).has_value());
    return out;
  }
  static FakeTool::Knows knows(Said said) {
    return [said] { return test::say(SaidValues(said)); };
  }

  std::vector<ModelStarted> started() const {
    std::vector<ModelStarted> out;
    const auto records = store_->load(agent_->id());
    for (const Record& record : records.value()) {
      if (const auto* e = std::get_if<ModelStarted>(&record.event)) out.push_back(*e);
    }
    return out;
  }
  /// Two requests, with a call in between.
  void run_two_steps() {
    start({ScriptedStep(says("", {{"open", R"({"door":"red"})"}})), ScriptedStep(says("done"))});
    EXPECT_EQ(turn().reason, TurnEnd::answered);
  }
};

TEST_F(LiveValuesTest, EveryRequestHasWhatIsTrueThenAndTheLogHoldsWhatChanged) {
  FakeTool& tool = add("open", nullptr);
  tool.knows = [this] {
    const bool has_changed = journal_.size() == 4;  // by the second call
    const std::vector<std::string> first = {"red", "blue", "red"};
    const std::vector<std::string> then = {"green"};
    return test::say(SaidValues(Said{{"door", has_changed ? then : first}}));
  };
  start({ScriptedStep(says("", {{"open", R"({"door":"red"})"}})),
         ScriptedStep(says("", {{"open", R"({"door":"blue"})"}})), ScriptedStep(says("done"))});
  EXPECT_EQ(turn().reason, TurnEnd::answered);
  const auto& requests = model_->requests();
  ASSERT_EQ(requests.size(), 3U);
  const LiveValues before{"open", "door", {"red", "blue"}};
  EXPECT_THAT(requests[0].live_values, ElementsAre(before));
  EXPECT_THAT(requests[1].live_values, ElementsAre(before));
  EXPECT_THAT(requests[2].live_values, ElementsAre(LiveValues{"open", "door", {"green"}}));
  const auto events = started();
  ASSERT_EQ(events.size(), 3U);
  EXPECT_TRUE(events[0].values.has_value());
  EXPECT_FALSE(events[1].values.has_value());
  EXPECT_TRUE(events[2].values.has_value());
}

TEST_F(LiveValuesTest, TheLogAloneMakesEachRequestAgain) {
  add("open", knows({{"door", {"red"}}}));
  run_two_steps();
  SessionState state;
  std::size_t i = 0;
  const auto records = store_->load(agent_->id());
  for (const Record& record : records.value()) {
    apply(state, record);
    if (!std::holds_alternative<ModelStarted>(record.event)) continue;
    EXPECT_EQ(next_request(state).live_values, model_->requests()[i++].live_values);
  }
  EXPECT_EQ(i, 2U);
}

TEST_F(LiveValuesTest, AToolThatFailsOrSaysNonsenseIsLeftFreeAndTheOthersAreNot) {
  add("open", knows({{"door", {"red"}}}));
  add("breaks", [] { return test::say(SaidValues(fail(Errc::internal, "broken\nsecond line"))); });
  add("floods", knows({{"door", many(5000)}}));
  add("dreams", knows({{"window", {"x"}}, {"door", {"x"}}}));
  add("throws", []() -> boost::asio::awaitable<SaidValues> { throw std::runtime_error("thrown"); });
  run_two_steps();
  const auto& live = model_->requests()[1].live_values;
  ASSERT_EQ(live.size(), 2U);
  EXPECT_EQ(live[0].tool, "open");
  EXPECT_EQ(live[1].tool, "dreams");
  const auto problems = agent_->state().tool_values.problems;
  EXPECT_THAT(problems,
              ElementsAre("breaks: broken", HasSubstr("floods.door: 5000 values"),
                          "dreams.window: the tool has no such parameter", HasSubstr("thrown")));
}

TEST_F(LiveValuesTest, AllToolsTogetherAreBounded) {
  std::vector<std::string> large;
  for (int i = 0; i < 200; ++i) large.push_back(std::string(250, 'x') + std::to_string(i));
  add("open", knows({{"door", large}}));
  add("other", knows({{"door", large}}));
  run_two_steps();
  EXPECT_EQ(model_->requests()[0].live_values.size(), 1U);
  EXPECT_THAT(agent_->state().tool_values.problems,
              ElementsAre("other.door: more than 65536 bytes of values in all"));
}

class SlowTools : public LiveValuesTest {
 protected:
  /// Most of the time for all tools has passed when they are asked.
  SlowTools() : LiveValuesTest(std::chrono::milliseconds(-4'500)) {}
};

boost::asio::awaitable<SaidValues> say_soon(Said said) {
  const auto executor = co_await boost::asio::this_coro::executor;
  boost::asio::steady_timer timer(executor, std::chrono::milliseconds(1));
  co_await timer.async_wait(boost::asio::use_awaitable);
  co_return SaidValues(std::move(said));
}

boost::asio::awaitable<SaidValues> say_never() {
  auto never = test::hang("");
  const auto stopped = co_await std::move(never);
  co_return tl::unexpected<Error>(stopped.error());
}

TEST_F(SlowTools, AProgramThatStoodStillForSecondsAsksItsModelWithWhatTheyKnow) {
  const Said said = {{"door", {"red"}}};
  add("open", [said] { return say_soon(said); });
  start({ScriptedStep(says("done"))});
  EXPECT_EQ(turn().reason, TurnEnd::answered);
  EXPECT_THAT(model_->requests()[0].live_values, ElementsAre(LiveValues{"open", "door", {"red"}}));
}

TEST_F(SlowTools, OneThatDoesNotAnswerIsLeftFreeAfterAWhile) {
  add("hangs", say_never);
  start({ScriptedStep(says("done"))});
  EXPECT_EQ(turn().reason, TurnEnd::answered);
  EXPECT_THAT(agent_->state().tool_values.problems, ElementsAre("hangs: the deadline passed"));
  EXPECT_THAT(model_->requests()[0].live_values, IsEmpty());
}

TEST_F(LiveValuesTest, ACancelledTurnDoesNotWaitForWhatToolsKnow) {
  add("hangs", [this] {
    boost::asio::post(context_, [this] { agent_->cancel(); });
    return say_never();
  });
  start({ScriptedStep(says("done"))});
  EXPECT_EQ(turn().reason, TurnEnd::cancelled);  // the clock is ahead: no deadline would pass
  EXPECT_EQ(count("model_started"), 0U);
  EXPECT_THAT(model_->requests(), IsEmpty());
}

TEST_F(LiveValuesTest, ATurnThatOtherWordsReplaceDoesNotWaitForWhatToolsKnow) {
  int times = 0;
  add("hangs", [this, &times]() -> boost::asio::awaitable<SaidValues> {
    if (++times > 1) return test::say(SaidValues(Said{}));
    auto send = agent_->send("something else");
    boost::asio::co_spawn(context_, std::move(send), [](std::exception_ptr, Status) {});
    return say_never();
  });
  start({ScriptedStep(says("done"))});
  EXPECT_EQ(turn().reason, TurnEnd::answered);
  ASSERT_EQ(model_->requests().size(), 1U);
  EXPECT_EQ(model_->requests()[0].conversation.back().content, "something else");
}

/// Says that nothing is known once something has come about; fails when that takes too long.
boost::asio::awaitable<SaidValues> say_when(std::function<bool()> has_come) {
  auto waiting = test::answer_when(std::move(has_come), "");
  const auto come = co_await std::move(waiting);
  if (!come) co_return tl::unexpected<Error>(come.error());
  co_return SaidValues(Said{});
}

TEST_F(LiveValuesTest, TheOutcomesOfAStepAreInTheLogWhileToolsAreAskedWhatTheyKnow) {
  std::size_t finished_before = 0;
  FakeTool& tool = add("open", nullptr);
  tool.knows = [this, &finished_before]() -> boost::asio::awaitable<SaidValues> {
    if (journal_.empty()) return test::say(SaidValues(Said{}));
    return say_when([this, &finished_before] {
      finished_before = outcomes().size();
      return finished_before == 1;
    });
  };
  run_two_steps();
  EXPECT_EQ(finished_before, 1U);
  EXPECT_THAT(agent_->state().tool_values.problems, IsEmpty());
}

TEST_F(LiveValuesTest, AToolThatIsNotGrantedIsNotAsked) {
  bool was_asked = false;
  FakeTool& tool = add("open", nullptr, {"sql"});
  tool.knows = [&was_asked] {
    was_asked = true;
    return test::say(SaidValues(Said{}));
  };
  start({ScriptedStep(says("done"))});
  EXPECT_EQ(turn().reason, TurnEnd::answered);
  EXPECT_FALSE(was_asked);
}

}  // namespace
}  // namespace ponder::runtime
