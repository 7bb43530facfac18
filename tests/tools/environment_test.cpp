#include "tools/environment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/async/task_group.h"
#include "tests/tools/market_environment.h"

namespace ponder::tools {
namespace {

namespace asio = boost::asio;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::MarketEnvironment;

TEST_F(MarketEnvironment, ItsToolsReadTheWorldThatWasBuiltFromTheSeed) {
  auto environment = open();
  EXPECT_EQ(environment->instructions(), "Count fruit.");
  EXPECT_EQ(content("count", R"({"name": "apple"})"), "21");
  EXPECT_EQ(content("count", R"({"name": "plum"})"), "error: no fruit is called plum");
  EXPECT_EQ(content("count", "{}"), "error: parameter 'name': is missing");
  EXPECT_EQ(registry_.specs().front().name, "count");
  EXPECT_EQ(registry_.find("count")->effect(), Effect::pure);
}

TEST_F(MarketEnvironment, ValuesKeepTheirTypesOnTheWayThroughSqlAndBack) {
  auto environment = open();
  EXPECT_EQ(content("query", R"({"sql": "SELECT * FROM fruit ORDER BY name"})"),
            R"({"count":2,"rows":[{"amount":21,"name":"apple","weight":1.5},)"
            R"({"amount":2,"name":"pear","note":"S","weight":2.0}]})");
  EXPECT_EQ(content("query", R"({"sql": "SELECT ? AS a, ? AS b, ? AS c, ? AS d",
                                 "values": [1, 2.0, "x", true]})"),
            R"({"count":1,"rows":[{"a":1,"b":2.0,"c":"x","d":1}]})");
}

TEST_F(MarketEnvironment, SqlMayOnlyLookAndIsBounded) {
  auto environment = open();
  EXPECT_THAT(content("query", R"({"sql": "DELETE FROM fruit"})"),
              HasSubstr("market.lua:22: sql: only a query (SELECT) is allowed here"));
  EXPECT_THAT(content("query", R"({"sql": "ATTACH '/tmp/x.db' AS x"})"), HasSubstr("only a query"));
  EXPECT_THAT(content("query", R"({"sql": "SELECT * FROM vegetables"})"),
              HasSubstr("no such table: vegetables"));
  EXPECT_THAT(content("query", R"({"sql": "SELECT ?"})"), HasSubstr("takes 1 values, got 0"));
  const auto query = [this](const std::string& sql) {
    return content("query", R"({"sql": ")" + sql + "\"}");
  };
  EXPECT_THAT(query("SELECT zeroblob(100000000)"), HasSubstr("too big"));
  const std::string count = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n";
  EXPECT_THAT(query(count + " LIMIT 200000) SELECT i FROM n"), HasSubstr("too many rows"));
  EXPECT_THAT(query(count + " LIMIT 100) SELECT hex(zeroblob(1000000)) FROM n"),
              HasSubstr("too many bytes"));
  EXPECT_THAT(query(count + ") SELECT count(*) FROM n"), HasSubstr("instruction limit reached"));
  EXPECT_EQ(content("count", R"({"name": "apple"})"), "21") << "the database is as before";
}

TEST_F(MarketEnvironment, ACapabilityThatAToolDoesNotDeclareIsNotThere) {
  auto environment = open();
  auto task = environment->task(1);
  ASSERT_TRUE(environment->begin(*task));
  EXPECT_EQ(content("spy"), "idempotency_key state task");
}

TEST_F(MarketEnvironment, AToolSaysWhatItsParametersCanBe) {
  auto environment = open();
  const auto said = values("fruits");
  ASSERT_TRUE(said) << said.error().message;
  ASSERT_EQ(said->size(), 1U);
  EXPECT_EQ(said->front().parameter, "name");
  EXPECT_THAT(said->front().values, ElementsAre("apple", "pear"));
  EXPECT_TRUE(registry_.find("fruits")->has_values());
  EXPECT_FALSE(registry_.find("count")->has_values());
  EXPECT_TRUE(values("no_values")->front().values.empty());
  EXPECT_EQ(values("thousands")->front().values.size(), 20000U);  // bounded by who asks
}

TEST_F(MarketEnvironment, AFunctionThatDoesNotSayValuesIsAnErrorAndTheStateLives) {
  auto environment = open();
  for (const char* garbage : {"number", "numbers", "nested"}) {
    const auto said = values(garbage);
    ASSERT_FALSE(said) << garbage;
    EXPECT_THAT(said.error().message, HasSubstr("a table of lists of strings"));
  }
  EXPECT_THAT(values("raises").error().message, HasSubstr("no idea"));
  EXPECT_EQ(values("spins").error().code, Errc::exhausted);
  EXPECT_EQ(values("spins", std::chrono::milliseconds(1)).error().code, Errc::deadline);
  EXPECT_EQ(values("hoards").error().code, Errc::exhausted);
  EXPECT_EQ(values("fruits")->size(), 1U);
}

TEST_F(MarketEnvironment, AToolReadsTheNameOfItsCall) {
  auto environment = open();
  ToolContext context = within(std::chrono::seconds(30));
  context.idempotency_key = "a-session/7/0";
  EXPECT_EQ(run("key", "{}", context)->content, "a-session/7/0");
  EXPECT_EQ(content("key"), "");
}

TEST_F(MarketEnvironment, ResultsOfOtherTypesAndFailuresAreOutputs) {
  auto environment = open();
  EXPECT_EQ(content("give", R"({"value": "text"})"), "text");
  EXPECT_EQ(content("give", R"({"value": 3})"), "3");
  EXPECT_EQ(content("give", R"({"value": {"a": [1, null, 2.5]}})"), R"({"a":[1,null,2.5]})");
  EXPECT_EQ(content("give", R"({"value": true})"), "true");
  EXPECT_EQ(content("nothing"), "error: the tool gave no result");
  EXPECT_EQ(content("refuse"), "error: not today");
  EXPECT_EQ(content("crash"), "error: market.lua:38: attempt to index a nil value (local 't')");
  EXPECT_TRUE(run("crash")->is_error);
  EXPECT_EQ(content("hoard"), "error: memory limit of 128 MiB reached");
  EXPECT_THAT(content("spin"), HasSubstr("error: market.lua:39: instruction limit reached"));
}

TEST_F(MarketEnvironment, ALongOutputIsCut) {
  auto environment = open();
  auto output = run("flood", "{}", within(std::chrono::seconds(30), 100));
  ASSERT_TRUE(output);
  EXPECT_EQ(output->content, std::string(100, 'x') + "\n[cut: 100 of 100000 bytes]");
}

TEST_F(MarketEnvironment, ACallEndsAtItsDeadline) {
  auto environment = open();
  // The budget of instructions would allow it about a second.
  const std::string endless =
      R"({"sql": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) )"
      R"(SELECT sum(i) FROM n"})";
  auto output = run("query", endless, within(std::chrono::milliseconds(5)));
  ASSERT_FALSE(output);
  EXPECT_EQ(output.error().code, Errc::deadline);
  auto late = run("count", R"({"name": "pear"})", within(std::chrono::milliseconds(-1)));
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, Errc::deadline);
  EXPECT_EQ(content("count", R"({"name": "pear"})"), "2") << "the next call is not affected";
}

TEST_F(MarketEnvironment, ACancelledCallEndsAsCancelled) {
  auto environment = open();
  asio::io_context io;
  asio::cancellation_signal signal;
  std::optional<Result<ToolOutput>> result;
  // Long enough that the cancel below comes while it runs: a hundred spins of 50 million.
  const ToolContext context = within(std::chrono::seconds(60));
  const auto call_until_cancelled = [&]() -> asio::awaitable<void> {
    co_await asio::this_coro::throw_if_cancelled(false);
    for (int i = 0; i < 100; ++i) {
      auto output = co_await invoke("spin", "{}", context);
      const bool is_over = !output;
      result.emplace(std::move(output));
      if (is_over) co_return;
    }
  };
  asio::co_spawn(io, call_until_cancelled,
                 asio::bind_cancellation_slot(signal.slot(), [](std::exception_ptr) {}));
  asio::steady_timer timer(io, std::chrono::milliseconds(30));
  timer.async_wait(
      [&](boost::system::error_code) { signal.emit(asio::cancellation_type::terminal); });
  io.run();
  ASSERT_TRUE(result.has_value());
  ASSERT_FALSE(*result);
  EXPECT_EQ(result->error().code, Errc::cancelled);
  EXPECT_EQ(content("count", R"({"name": "pear"})"), "2");
}

template <class Value>
asio::awaitable<void> note_end(asio::awaitable<Result<Value>> work, std::string name,
                               std::string* journal) {
  co_await asio::this_coro::throw_if_cancelled(false);
  const auto result = co_await std::move(work);
  const bool is_cancelled = !result && result.error().code == Errc::cancelled;
  *journal += name + (is_cancelled ? " cancelled, " : " ended, ");
}

template <class Value>
asio::awaitable<void> cancel_the_second(asio::awaitable<Result<ToolOutput>> first,
                                        asio::awaitable<Result<Value>> second,
                                        std::string* journal) {
  const auto executor = co_await asio::this_coro::executor;
  TaskGroup group(executor);
  group.spawn(note_end(std::move(first), "first", journal));
  const auto id = group.spawn(note_end(std::move(second), "second", journal));
  co_await asio::post(asio::use_awaitable);
  group.cancel(id);
  co_await group.join();
}

TEST_F(MarketEnvironment, ACallThatWaitsForAnotherIsCancelledBeforeThatOneEnds) {
  const auto environment = open();
  std::string journal;
  asio::io_context io;
  auto first = invoke("spin", "{}", within(std::chrono::seconds(30)));
  auto second = invoke("nothing", "{}", within(std::chrono::seconds(30)));
  auto work = cancel_the_second(std::move(first), std::move(second), &journal);
  asio::co_spawn(io, std::move(work), [](std::exception_ptr error) {
    if (error) std::rethrow_exception(error);
  });
  io.run();
  EXPECT_EQ(journal, "second cancelled, first ended, ");
}

TEST_F(MarketEnvironment, ValuesThatWaitForACallAreCancelledBeforeThatOneEnds) {
  const auto environment = open();
  std::string journal;
  asio::io_context io;
  auto first = invoke("spin", "{}", within(std::chrono::seconds(30)));
  auto second = registry_.find("fruits")->values(within(std::chrono::seconds(30)));
  auto work = cancel_the_second(std::move(first), std::move(second), &journal);
  asio::co_spawn(io, std::move(work), [](std::exception_ptr error) {
    if (error) std::rethrow_exception(error);
  });
  io.run();
  EXPECT_EQ(journal, "second cancelled, first ended, ");
}

TEST_F(MarketEnvironment, ACallThatIsCancelledBeforeItBeginsDoesNotRun) {
  auto environment = open();
  auto task = environment->task(1);
  ASSERT_TRUE(environment->begin(*task));
  asio::io_context io;
  asio::cancellation_signal signal;
  std::optional<Result<ToolOutput>> result;
  const auto call_late = [&]() -> asio::awaitable<void> {
    co_await asio::this_coro::throw_if_cancelled(false);
    signal.emit(asio::cancellation_type::terminal);
    auto output = co_await invoke("remember", R"({"value": 1})", within(std::chrono::seconds(5)));
    result.emplace(std::move(output));
  };
  asio::co_spawn(io, call_late,
                 asio::bind_cancellation_slot(signal.slot(), [](std::exception_ptr) {}));
  io.run();
  ASSERT_TRUE(result.has_value());
  ASSERT_FALSE(*result);
  EXPECT_EQ(result->error().code, Errc::cancelled);
  EXPECT_EQ(content("remember", R"({"value": 2})"), "nil") << "the first call ran";
}

TEST_F(MarketEnvironment, ParallelCallsQueueWhileTheCallersExecutorGoesOn) {
  auto environment = open();
  asio::io_context io;
  std::vector<std::string> results;
  int ticks = 0;
  bool is_over = false;
  const auto call_all = [&]() -> asio::awaitable<void> {
    const auto executor = co_await asio::this_coro::executor;
    TaskGroup group(executor);
    const auto one = [&](std::string name, std::string arguments) -> asio::awaitable<void> {
      auto output =
          co_await invoke(std::move(name), std::move(arguments), within(std::chrono::seconds(60)));
      results.push_back(output->content.substr(0, 5));
    };
    group.spawn(one("spin", "{}"));
    group.spawn(one("count", R"({"name": "apple"})"));
    group.spawn(one("count", R"({"name": "pear"})"));
    co_await group.join();
    is_over = true;
  };
  std::function<void()> tick = [&] {
    ++ticks;
    if (!is_over) asio::post(io, tick);
  };
  asio::co_spawn(io, call_all, [](std::exception_ptr) {});
  asio::post(io, tick);
  io.run();
  EXPECT_THAT(results, ElementsAre("error", "21", "2"));
  EXPECT_GT(ticks, 100) << "the executor stood still while the tools ran";
}

TEST_F(MarketEnvironment, StateLastsFromCallToCallAndEndsWithTheTask) {
  auto environment = open();
  auto task = environment->task(1);
  ASSERT_TRUE(environment->begin(*task));
  EXPECT_EQ(content("remember", R"({"value": "a"})"), "nil");
  EXPECT_EQ(content("remember", R"({"value": "b"})"), "a");
  ASSERT_TRUE(environment->begin(*task));
  EXPECT_EQ(content("remember", R"({"value": "c"})"), "nil");
}

TEST_F(MarketEnvironment, ASubmittedPlanIsJudged) {
  auto environment = open();
  auto task = environment->task(5);
  ASSERT_TRUE(task) << task.error().message;
  EXPECT_EQ(task->id, "market-5");
  EXPECT_EQ(task->kind, "count");
  EXPECT_EQ(task->text, "How many apples?");
  EXPECT_EQ(environment->judge().error().message, "the environment was given no task");
  ASSERT_TRUE(environment->begin(*task));

  auto idle = environment->judge();
  ASSERT_TRUE(idle) << idle.error().message;
  EXPECT_FALSE(idle->is_solved);
  EXPECT_FALSE(idle->is_submitted);
  EXPECT_EQ(idle->detail, "no plan was submitted, though there is one");
  EXPECT_EQ(environment->artefacts().error().code, Errc::not_found);

  EXPECT_EQ(content("submit", R"({"amount": 4})"), "submitted for market-5");
  auto wrong = environment->judge();
  EXPECT_FALSE(wrong->is_solved);
  EXPECT_TRUE(wrong->is_submitted);
  EXPECT_EQ(wrong->detail, "amount 4, must be 21");

  content("submit", R"({"amount": 21})");
  EXPECT_EQ(environment->submitted().value(), R"([{"amount":21}])");
  auto right = environment->judge();
  EXPECT_TRUE(right->is_solved);
  EXPECT_EQ(right->verification.json, R"({"ok":true,"proof":[],"violations":[]})");
}

TEST_F(MarketEnvironment, WhereThereIsNoPlanSubmittingNoneIsRight) {
  auto environment = open();
  auto task = environment->task(5, "impossible");
  ASSERT_TRUE(environment->begin(*task));
  auto solution = environment->solve();
  ASSERT_TRUE(solution) << solution.error().message;
  EXPECT_FALSE(solution->is_feasible);
  EXPECT_EQ(solution->conflict, "there are never more than 500");
  EXPECT_TRUE(environment->judge()->is_solved);
  content("submit", R"({"amount": 4})");
  EXPECT_FALSE(environment->judge()->is_solved);
}

TEST_F(MarketEnvironment, ATaskOutOfALogIsTheSameTask) {
  auto environment = open();
  auto task = environment->task(5);
  auto restored = environment->task_from_json(task->json);
  ASSERT_TRUE(restored) << restored.error().message;
  EXPECT_EQ(restored->json, task->json);
  EXPECT_EQ(restored->text, task->text);
  EXPECT_FALSE(environment->task_from_json("[1]"));
  EXPECT_FALSE(environment->task_from_json("{"));
}

TEST_F(MarketEnvironment, PlainWordsBecomeATaskOrAClearError) {
  auto environment = open();
  auto task = environment->task_from_text("Apples, please");
  ASSERT_TRUE(task) << task.error().message;
  EXPECT_EQ(task->kind, "asked");
  auto nonsense = environment->task_from_text("nonsense");
  ASSERT_FALSE(nonsense);
  EXPECT_EQ(nonsense.error().code, Errc::invalid_argument);
  EXPECT_EQ(nonsense.error().message, "these words ask for nothing");
  auto doubtful = environment->task_from_text("perhaps apples");
  ASSERT_FALSE(doubtful);
  EXPECT_EQ(doubtful.error().message, "could not make out: the word perhaps; the rest");
}

TEST_F(MarketEnvironment, ArtefactsAreCheckedAgainWithoutASession) {
  auto environment = open();
  auto task = environment->task(5);
  ASSERT_TRUE(environment->begin(*task));
  content("submit", R"({"amount": 21})");
  auto files = environment->artefacts();
  ASSERT_TRUE(files) << files.error().message;
  const tests::ScriptFolder out;
  std::vector<std::string> names;
  for (const auto& file : *files) {
    names.push_back(file.file_name);
    out.write(file.file_name, file.content);
  }
  EXPECT_THAT(names, ElementsAre("itinerary.json", "note.txt", "proof.json"));
  const auto check = [&] {
    return verify_artefacts(folder_.path(), out.path(), pool_.get_executor());
  };
  auto verification = check();
  ASSERT_TRUE(verification) << verification.error().message;
  EXPECT_TRUE(verification->is_ok);

  out.write("note.txt", "ok: perhaps\n");
  EXPECT_EQ(check().error().code, Errc::corrupt);
  EXPECT_THAT(check().error().message, HasSubstr("note.txt does not say what itinerary.json says"));
  out.write("itinerary.json", R"([{"amount": 20}])");
  EXPECT_THAT(check()->violations, ElementsAre("amount 20, must be 21"));
  out.write("itinerary.json", "[{");
  EXPECT_EQ(check().error().code, Errc::corrupt);
  const auto own = out.path() / "judge.lua";
  out.write("judge.lua", "return {}");
  out.write("proof.json", R"({"world": {"name": ")" + own.string() +
                              R"(", "seed": 1, "size": "S"}, "task": {}})");
  EXPECT_THAT(check().error().message, HasSubstr("lies among the artefacts"));
  out.write("proof.json", R"({"world": {"name": "market"}})");
  out.write("itinerary.json", "[]");
  EXPECT_THAT(check().error().message, HasSubstr("proof.json: needs 'world'"));
  std::filesystem::remove(out.path() / "proof.json");
  EXPECT_THAT(check().error().message, HasSubstr("proof.json: No such file"));
}

TEST_F(MarketEnvironment, AnArtefactStaysInItsFolderAndOverwritesNothingHidden) {
  for (const std::string name :
       {"../note.txt", "/var/tmp/note.txt", "sub/note.txt", "..", ".bashrc", "", "a\\0b"}) {
    SCOPED_TRACE(name);
    std::string script = testing::kFruit;
    script.replace(script.find("note.txt"), std::string("note.txt").size(), name);
    folder_.write("market.lua", script);
    registry_ = Registry();
    auto environment = open();
    ASSERT_TRUE(environment->begin(*environment->task(5)));
    content("submit", R"({"amount": 21})");
    const auto files = environment->artefacts();
    ASSERT_FALSE(files);
    EXPECT_EQ(files.error().code, Errc::internal);
    EXPECT_THAT(files.error().message, HasSubstr("is no name without a folder"));
  }
  std::string script = testing::kFruit;
  script.replace(script.find("itinerary.json"), std::string("itinerary.json").size(), "..");
  EXPECT_THAT(refusal(script), HasSubstr("answer.file is a name without a folder"));
}

TEST_F(MarketEnvironment, AFaultyEnvironmentDoesNotOpen) {
  WorldOptions absent = options();
  absent.name = "harbour";
  auto missing = Environment::open(absent, pool_.get_executor());
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, Errc::not_found);
  EXPECT_THAT(missing.error().message, HasSubstr("there is no environment 'harbour' in"));
  EXPECT_THAT(missing.error().message, HasSubstr("there are: market"));
  WorldOptions huge = options();
  huge.size = "XXL";
  EXPECT_EQ(Environment::open(huge, pool_.get_executor()).error().message,
            "there is no size 'XXL', there are: S, M, L");

  EXPECT_THAT(refusal("return 3"), HasSubstr("the environment is no table"));
  EXPECT_THAT(refusal("return {}"), HasSubstr("the environment has no tools"));
  EXPECT_THAT(refusal("return { tools = {} }"), HasSubstr("has no function 'build'"));
  EXPECT_THAT(refusal("return { tools = { { name = 'x', parameters = '{}' } } }"),
              HasSubstr("tool 1 has no function run"));
  EXPECT_THAT(refusal("return { tools = { { run = function() end } } }"), HasSubstr("tool 1: "));
  EXPECT_THAT(refusal("return { tools = { { run = function() end, values = {} } } }"),
              HasSubstr("tool 1: values is no function"));
  EXPECT_THAT(refusal("return { tools = { { name = 'x', parameters = '{}', effect = 'loud',\n"
                      "  run = function() end } } }"),
              HasSubstr("'loud' is no effect"));
  EXPECT_THAT(refusal("return { tools = { { name = 'x', parameters = '{}',\n"
                      "  capabilities = { 'http' }, run = function() end } } }"),
              HasSubstr("tool 'x' asks for 'http', which no environment can have"));
  EXPECT_THAT(refusal("return { tools = {}, build = function(db) db.exec('NONSENSE') end }"),
              HasSubstr("build: market.lua:1: sql: "));
  EXPECT_THAT(refusal("return {"), HasSubstr("market.lua:1: "));
}

TEST_F(MarketEnvironment, AnEffectThatIsNotDeclaredIsIrreversible) {
  folder_.write(
      "market.lua",
      "return { build = type, tools = { { name = 'x', parameters = '{}', run = type } } }");
  const auto environment = open();
  EXPECT_EQ(registry_.find("x")->effect(), Effect::irreversible);
}

}  // namespace
}  // namespace ponder::tools
