#include "runtime/agent/session_services.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/post.hpp>
#include <limits>

#include "base/async/timer.h"
#include "runtime/session/log_check.h"
#include "tests/runtime/agent_fixture.h"
#include "tests/runtime/serving_tool.h"

/// What a session does for a call: questions to a person, notes, values, progress.
namespace ponder::runtime {
namespace {

namespace asio = boost::asio;
using std::chrono::minutes;
using test::says;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using tools::Effect;
using tools::ToolContext;
using tools::ToolOutput;
using Output = Result<ToolOutput>;

ToolOutput output_of(const Status& status) {
  if (status) return ToolOutput("ok", false);
  return test::output_of(Result<std::string>(tl::unexpected<Error>(status.error())));
}

class SessionServicesTest : public test::AgentFixture {
 protected:
  SessionServicesTest() { questions_.respondent = &person_; }

  void add(const std::string& name, Effect effect, test::ServingTool::Work work,
           std::uint32_t concurrency_max = 0) {
    auto tool = std::make_unique<test::ServingTool>(name, effect, std::move(work), concurrency_max);
    ASSERT_TRUE(registry_.add(std::move(tool)));
  }
  /// A turn in which each of these is called, one after the other.
  void run_calls(const std::vector<std::string>& names) {
    std::vector<ScriptedStep> script;
    for (const std::string& name : names) script.emplace_back(says("", {{name, "{}"}}));
    script.emplace_back(says("done"));
    start(std::move(script));
    turn();
  }
  std::vector<Event> events() const {
    std::vector<Event> out;
    const auto records = store_->load(agent_->id());
    for (const Record& record : *records) out.push_back(record.event);
    return out;
  }
  /// A session with the first `count` events of the log, as if its process had died there.
  SessionId died_after(const std::vector<Event>& log, std::size_t count) {
    const SessionId copy = store_->new_id();
    const std::vector<Event> kept(log.begin(), log.begin() + static_cast<std::ptrdiff_t>(count));
    EXPECT_TRUE(test::run(context_, store_->append(copy, 0, kept)));
    return copy;
  }
  template <class E>
  SessionId died_after_first() {
    const auto log = events();
    const auto found = std::find_if(log.begin(), log.end(), [](const Event& event) {
      return std::holds_alternative<E>(event);
    });
    person_.questions.clear();
    return died_after(log, static_cast<std::size_t>(found - log.begin()) + 1);
  }
  void resume(const SessionId& id) {
    reopen(id, {ScriptedStep(says("done"))});
    const auto end = test::run(context_, agent_->resume());
    ASSERT_TRUE(end) << end.error().message;
    EXPECT_EQ(end->reason, TurnEnd::answered);
    EXPECT_THAT(check_log(*store_->load(agent_->id())), IsEmpty());
  }

  test::AnsweringPerson person_;
};

TEST_F(SessionServicesTest, AQuestionAndItsAnswerAreEventsOfTheCall) {
  add("asks", Effect::pure, test::ask_who);
  person_.words = "me";
  run_calls({"asks"});
  EXPECT_EQ(outcomes().at(0).content, "got me");
  ASSERT_EQ(person_.questions.size(), 1U);
  EXPECT_EQ(person_.questions[0].tool, "asks");
  EXPECT_EQ(person_.questions[0].text, "who?");
  EXPECT_THAT(recorder_.types, ::testing::IsSupersetOf({"question_asked", "question_answered"}));
  EXPECT_THAT(check_log(*store_->load(agent_->id())), IsEmpty());
}

TEST_F(SessionServicesTest, WithoutAPersonAQuestionIsUnavailableAndNotWrittenDown) {
  questions_.respondent = nullptr;
  add("asks", Effect::pure, test::ask_who);
  run_calls({"asks"});
  EXPECT_EQ(outcomes().at(0).content, "unavailable: nobody is here to be asked");
  EXPECT_EQ(count("question_asked"), 0U);
}

TEST_F(SessionServicesTest, AQuestionThatNobodyAnswersExpires) {
  questions_.answer_ms_max = 20;
  add("asks", Effect::pure, test::ask_who);
  run_calls({"asks"});
  EXPECT_EQ(outcomes().at(0).content, "deadline: nobody answered in time");
  EXPECT_EQ(count("question_answered"), 1U);
  resume(died_after_first<QuestionAnswered>());
  EXPECT_EQ(outcomes().at(0).content, "deadline: nobody answered in time");
  EXPECT_THAT(person_.questions, IsEmpty());
}

TEST_F(SessionServicesTest, CancellingTheTurnWithdrawsTheQuestion) {
  add("asks", Effect::pure, test::ask_who);
  recorder_.trigger = "question_asked";
  recorder_.action = [this] { asio::post(context_, [this] { agent_->cancel(); }); };
  start({ScriptedStep(says("", {{"asks", "{}"}}))});
  EXPECT_EQ(turn().reason, TurnEnd::cancelled);
  EXPECT_EQ(count("question_asked"), 1U);
  EXPECT_EQ(count("question_answered"), 0U);
}

TEST_F(SessionServicesTest, CancellingTheCallWithdrawsTheQuestionAndTheTurnGoesOn) {
  add("asks", Effect::pure, test::ask_who);
  recorder_.trigger = "question_asked";
  recorder_.action = [this] {
    asio::post(context_, [this] { EXPECT_TRUE(agent_->cancel_call(0)); });
  };
  start({ScriptedStep(says("", {{"asks", "{}"}})), ScriptedStep(says("done"))});
  EXPECT_EQ(turn().reason, TurnEnd::answered);
  EXPECT_THAT(outcomes().at(0).content, HasSubstr("cancelled"));
}

TEST_F(SessionServicesTest, AQuestionThatACrashLeftOpenIsAskedAgainAndAnAnswerHolds) {
  add("asks", Effect::idempotent, test::ask_who);
  person_.words = "me";
  run_calls({"asks"});
  const std::string digest = person_.questions[0].digest;
  const SessionId open = died_after_first<QuestionAsked>();
  const SessionId answered = died_after_first<QuestionAnswered>();
  person_.words = "another";
  resume(open);
  EXPECT_EQ(outcomes().at(0).content, "got another");
  EXPECT_EQ(person_.questions.size(), 1U);
  person_.questions.clear();
  resume(answered);
  EXPECT_EQ(outcomes().at(0).content, "got me");
  EXPECT_THAT(person_.questions, IsEmpty());
}

TEST_F(SessionServicesTest, ACallThatMustNotBeMadeAgainTakesItsOpenQuestionWithIt) {
  add("pays", Effect::irreversible, test::ask_who);
  person_.words = "me";
  run_calls({"pays"});
  resume(died_after_first<QuestionAsked>());
  EXPECT_EQ(outcomes().at(0).outcome, Outcome::interrupted);
  EXPECT_THAT(person_.questions, IsEmpty());
}

TEST_F(SessionServicesTest, AnAnswerCountsForNoOtherQuestion) {
  std::string text = "who?";
  add("asks", Effect::idempotent, [&text](ToolContext context) -> asio::awaitable<Output> {
    tools::Question question(text);
    auto got = co_await context.services->ask(std::move(question));
    co_return test::output_of(got);
  });
  person_.words = "me";
  run_calls({"asks"});
  const SessionId answered = died_after_first<QuestionAnswered>();
  text = "who pays?";
  person_.words = "you";
  resume(answered);
  EXPECT_EQ(outcomes().at(0).content, "got you");
}

/// Counts up what it keeps, asks twice, and leaves a note.
asio::awaitable<Output> visit(ToolContext context) {
  tools::CallServices& services = *context.services;
  const std::string before = services.value("visits").value_or("none");
  tools::Question who("who?");
  const auto name = co_await services.ask(std::move(who));
  if (!name) co_return test::output_of(name);
  tools::Note note("log", "asked " + *name);
  const Status noted = co_await services.note(std::move(note));
  if (!noted) co_return output_of(noted);
  const Status kept = co_await services.set_value("visitor", *name);
  if (!kept) co_return output_of(kept);
  tools::Question sure("sure?");
  sure.choices = {"yes", "no"};
  const auto word = co_await services.ask(std::move(sure));
  co_return test::output_of(word);
}

TEST_F(SessionServicesTest, WhereverACrashCutsTheLogTheCallComesToTheSameEnd) {
  add("visits", Effect::idempotent, visit);
  person_.words = "yes";
  run_calls({"visits"});
  const auto log = events();
  const auto call = std::find_if(log.begin(), log.end(), [](const Event& event) {
    return std::holds_alternative<ModelCompleted>(event);
  });
  const auto first = static_cast<std::size_t>(call - log.begin()) + 1;
  for (std::size_t kept = first; kept + 2 < log.size(); ++kept) {
    SCOPED_TRACE(kept);
    person_.questions.clear();
    resume(died_after(log, kept));
    const SessionState state = fold(*store_->load(agent_->id()));
    EXPECT_EQ(outcomes().at(0).content, "got yes");
    EXPECT_EQ(agent_->state().kept_values.at({"visits", "visitor"}), "yes");
    std::size_t answers = 0;
    for (const Event& event : events()) answers += std::holds_alternative<QuestionAnswered>(event);
    EXPECT_EQ(answers, 2U);  // nobody is asked what was answered
  }
}

TEST_F(SessionServicesTest, ValuesAreThereForLaterCallsOfTheSameToolOnly) {
  const auto counts = [](ToolContext context) -> asio::awaitable<Output> {
    const std::string before = context.services->value("n").value_or("");
    std::string after = before + "I";
    const Status kept = co_await context.services->set_value("n", std::move(after));
    co_return kept ? ToolOutput(before, false) : output_of(kept);
  };
  add("counts", Effect::idempotent, counts);
  add("others", Effect::idempotent, counts);
  limits_.stale_steps_max = 0;
  run_calls({"counts", "counts", "others"});
  EXPECT_EQ(outcomes()[1].content, "I");
  EXPECT_EQ(outcomes()[2].content, "");
  const auto fork = test::run(context_, store_->fork(agent_->id(), agent_->state().last_seq));
  ASSERT_TRUE(fork);
  reopen(*fork, {ScriptedStep(says("", {{"counts", "{}"}})), ScriptedStep(says("done"))});
  turn();
  EXPECT_EQ(outcomes().back().content, "II");
}

TEST_F(SessionServicesTest, WhatIsSetAnewIsNotWrittenAndWhatIsForgottenIsGone) {
  add("keeps", Effect::idempotent, [](ToolContext context) -> asio::awaitable<Output> {
    tools::CallServices& services = *context.services;
    const Status gone = co_await services.set_value("k", std::nullopt);  // it was not there
    const Status one = co_await services.set_value("k", "1");
    const Status again = co_await services.set_value("k", "1");
    const Status forgotten = co_await services.set_value("k", std::nullopt);
    EXPECT_TRUE(gone && one && again && forgotten);
    co_return ToolOutput(services.value("k").value_or("nothing"), false);
  });
  run_calls({"keeps"});
  EXPECT_EQ(outcomes().at(0).content, "nothing");
  EXPECT_EQ(count("tool_value_set"), 2U);
}

TEST_F(SessionServicesTest, ValuesAndNotesHaveBoundsThatSaySo) {
  add("greedy", Effect::idempotent, [](ToolContext context) -> asio::awaitable<Output> {
    tools::CallServices& services = *context.services;
    const std::vector<std::pair<std::string, std::string>> refused = {
        {"", "v"},
        {"k\xFF", "v"},
        {"k", "v\xFF"},
        {std::string(kKeyBytesMax + 1, 'k'), "v"},
        {"k", std::string(kValueBytesMax + 1, 'v')}};
    for (const auto& [key, value] : refused) {
      const Status kept = co_await services.set_value(key, value);
      EXPECT_TRUE(!kept && kept.error().code == Errc::invalid_argument) << key.substr(0, 9);
    }
    const std::string large(kValueBytesMax, 'v');
    std::size_t kept = 0;
    Status status;
    while (status) {
      std::string key = "k" + std::to_string(kept);
      const Status next = co_await services.set_value(std::move(key), large);
      status = next;
      if (status) ++kept;
    }
    EXPECT_EQ(status.error().code, Errc::exhausted);
    EXPECT_EQ(kept, kKeptBytesToolMax / kValueBytesMax - 1);  // keys count, too
    tools::Note nameless("", "x");
    const Status unnamed = co_await services.note(std::move(nameless));
    EXPECT_FALSE(unnamed);
    tools::Note long_one("log", std::string(kNoteBytesMax + 1, 'n'));
    const Status noted = co_await services.note(std::move(long_one));
    EXPECT_THAT(noted.error().message, HasSubstr("of 16384 at most"));
    co_return ToolOutput("done", false);
  });
  run_calls({"greedy"});
  EXPECT_EQ(outcomes().at(0).content, "done");
  EXPECT_EQ(count("tool_noted"), 0U);
}

TEST_F(SessionServicesTest, ProgressReachesWhoeverWatchesAndTheLogNever) {
  add("works", Effect::pure, [](ToolContext context) -> asio::awaitable<Output> {
    context.services->progress("half\xFF", 0.5);
    context.services->progress(std::string(kProgressBytesMax, 'x') + "é", 7.0);
    context.services->progress("", std::numeric_limits<double>::quiet_NaN());
    co_return ToolOutput("done", false);
  });
  run_calls({"works"});
  ASSERT_EQ(recorder_.progress.size(), 3U);
  EXPECT_EQ(recorder_.progress[0].tool, "works");
  EXPECT_EQ(recorder_.progress[0].text, "half\xEF\xBF\xBD");
  EXPECT_EQ(recorder_.progress[0].share, 0.5);
  EXPECT_EQ(recorder_.progress[1].text, std::string(kProgressBytesMax, 'x'));
  EXPECT_EQ(recorder_.progress[1].share, 1.0);
  EXPECT_FALSE(recorder_.progress[2].share);
  EXPECT_EQ(count("tool_noted"), 0U);
}

TEST_F(SessionServicesTest, WhoWaitsForAPersonHoldsNoPlaceAmongTheCallsOfItsTool) {
  std::vector<std::string> story;
  const auto asks = [&](ToolContext context) -> asio::awaitable<Output> {
    story.emplace_back("begin");
    tools::Question question("who?");
    const auto got = co_await context.services->ask(std::move(question));
    story.emplace_back("has it");
    for (int i = 0; i < 5; ++i) {
      co_await asio::post(asio::use_awaitable);
    }
    story.emplace_back("end");
    co_return test::output_of(got);
  };
  add("asks", Effect::pure, asks, /*concurrency_max=*/1);
  person_.meanwhile = [this, &story] {
    if (person_.questions.size() == 1) story.emplace_back("first question");
    if (person_.questions.size() == 2) story.emplace_back("second question");
  };
  // Both answers come once both were asked: the second call could begin while the first one waited.
  class Patient final : public Respondent {
   public:
    explicit Patient(test::AnsweringPerson& person) : person_(&person) {}
    asio::awaitable<Result<std::string>> answer(PersonQuestion question) override {
      person_->questions.push_back(std::move(question));
      person_->meanwhile();
      while (person_->questions.size() < 2) {
        co_await asio::post(asio::use_awaitable);
      }
      co_return "me";
    }

   private:
    test::AnsweringPerson* person_;
  } patient(person_);
  questions_.respondent = &patient;
  start({ScriptedStep(says("", {{"asks", "{}"}, {"asks", R"({"x":1})"}})),
         ScriptedStep(says("done"))});
  turn();
  EXPECT_THAT(story, ElementsAre("begin", "first question", "begin", "second question", "has it",
                                 "end", "has it", "end"));
}

TEST_F(SessionServicesTest, APersonsTimeIsNotTheCalls) {
  auto& time = asio::make_service<ManualTime>(context_);
  limits_.tool_ms_max = 60'000;
  questions_.answer_ms_max = 1'800'000;
  person_.words = "me";
  person_.meanwhile = [&] {
    clock_.advance(minutes(5));
    while (time.ring_one(clock_.now())) {
    }
  };
  add("asks", Effect::pure, [&](ToolContext context) -> asio::awaitable<Output> {
    clock_.advance(std::chrono::seconds(50));
    tools::Question question("who?");
    const auto got = co_await context.services->ask(std::move(question));
    EXPECT_TRUE(got);
    EXPECT_EQ(context.services->waited(), minutes(5));
    // Its own time goes on where it stood: ten seconds are left.
    clock_.advance(std::chrono::seconds(9));
    while (time.ring_one(clock_.now())) {
    }
    co_await asio::post(asio::use_awaitable);
    const auto cancellation = co_await asio::this_coro::cancellation_state;
    EXPECT_EQ(cancellation.cancelled(), asio::cancellation_type::none);
    EXPECT_EQ(*time.next(), context.deadline.at() + minutes(5));
    clock_.advance(std::chrono::seconds(2));
    while (time.ring_one(clock_.now())) {
    }
    for (int i = 0; i < 5; ++i) {
      co_await asio::post(asio::use_awaitable);
    }
    co_return fail(Errc::internal, "it ran on after its deadline");
  });
  run_calls({"asks"});
  EXPECT_EQ(outcomes().at(0).outcome, Outcome::timeout);
  EXPECT_EQ(outcomes().at(0).elapsed_ms, 61'000);
}

}  // namespace
}  // namespace ponder::runtime
