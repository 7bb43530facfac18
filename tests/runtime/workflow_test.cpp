#include "runtime/workflow/workflow.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/thread_pool.hpp>
#include <fstream>
#include <future>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "runtime/agent/agent.h"
#include "runtime/data_dir.h"
#include "runtime/model/scripted_model.h"
#include "runtime/store/sqlite_session_store.h"
#include "runtime/workflow/eval.h"
#include "runtime/workflow/shipped_model.h"
#include "tests/runtime/support.h"
#include "tools/environment.h"

namespace ponder::runtime {
namespace {

namespace asio = boost::asio;
namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

const fs::path kLibrary = fs::path("tools") / "library";
constexpr std::uint64_t kSeed = 1'000'000;

/// A plan as check_plan takes it: a line for each day.
std::string plan_text(const std::string& plan_json) {
  if (plan_json.empty()) return {};
  std::string text;
  for (const json& day : json::parse(plan_json)) {
    std::string line;
    for (const char* field :
         {"city", "hotel", "afternoon_restaurant", "afternoon_attraction", "evening_restaurant"}) {
      line += (line.empty() ? "" : ", ") + day.at(field).get<std::string>();
    }
    text += line + "\n";
  }
  return text;
}

/// A plan that the solver found for the task of a seed; empty when there is none.
std::string solved_plan(std::uint64_t task_seed) {
  asio::thread_pool pool(1);
  tools::WorldOptions world;
  world.library = kLibrary;
  world.name = "travel";
  world.seed = world_seed_of(task_seed);
  auto environment = tools::Environment::open(world, pool.get_executor());
  PONDER_ASSERT(environment.has_value());
  const auto task = (*environment)->task(task_seed);
  PONDER_ASSERT(task.has_value());
  PONDER_ASSERT((*environment)->begin(*task).has_value());
  const auto solution = (*environment)->solve();
  PONDER_ASSERT(solution.has_value());
  return plan_text(solution->answer_json);
}

/// The first seed from kSeed on whose task can (or cannot) be solved.
std::uint64_t seed_with(bool is_feasible) {
  std::uint64_t seed = kSeed;
  while (solved_plan(seed).empty() == is_feasible) ++seed;
  return seed;
}

ScriptedStep calls(const std::string& tool, const json& arguments) {
  Completion completion;
  completion.message.tool_calls = {{"", tool, arguments.dump()}};
  completion.call_faults = {""};
  completion.usage.tokens_generated = 5;
  return ScriptedStep(std::move(completion));
}

ScriptedStep says(const std::string& text) {
  Completion completion;
  completion.message.content = text;
  return ScriptedStep(std::move(completion));
}

std::vector<ScriptedStep> solving_script(const std::string& plan) {
  return {calls("check_plan", {{"plan", plan}}), calls("submit_result", json::object()),
          says("Have a good trip.")};
}

class WorkflowTest : public ::testing::Test {
 protected:
  WorkflowTest() {
    store_ = std::move(*SqliteSessionStore::open(dir_.path() / "sessions.db", system_clock()));
  }

  std::unique_ptr<Workflow> open(std::uint64_t task_seed) {
    WorkflowOptions how;
    how.name = "travel";
    how.library = kLibrary;
    how.world_seed = world_seed_of(task_seed);
    how.task_seed = task_seed;
    auto workflow = Workflow::open(how);
    PONDER_ASSERT(workflow.has_value());
    return std::move(*workflow);
  }

  void run(Workflow& workflow, std::vector<ScriptedStep> script,
           std::uint32_t agent_depth_max = 0) {
    SessionStarted start = workflow.session_start();
    start.limits.agent_depth_max = agent_depth_max;
    model_ = std::make_unique<ScriptedModel>(std::move(script));
    AgentParts parts(*model_, workflow.registry(), *store_, system_clock());
    parts.grants = workflow.grants();
    agent_ = std::move(*test::run(context_, Agent::start(parts, std::move(start))));
    ASSERT_TRUE(test::run(context_, agent_->run_turn(workflow.request())));
  }

  test::TempDir dir_;
  asio::io_context context_;
  std::unique_ptr<SessionStore> store_;
  std::unique_ptr<ScriptedModel> model_;
  std::unique_ptr<Agent> agent_;
};

TEST_F(WorkflowTest, ASolvedTaskIsJudgedWrittenDownAndVerifiedFromItsFilesAlone) {
  const std::uint64_t seed = seed_with(/*is_feasible=*/true);
  const auto workflow = open(seed);
  run(*workflow, solving_script(solved_plan(seed)));
  const auto verdict = workflow->judge(agent_->state());
  ASSERT_TRUE(verdict) << verdict.error().message;
  EXPECT_TRUE(verdict->is_solved) << verdict->detail;
  EXPECT_TRUE(verdict->has_answer);

  const fs::path out = dir_.path() / "trip";
  const auto files = workflow->write_artefacts(out, agent_->id(), agent_->state());
  ASSERT_TRUE(files) << files.error().message;
  EXPECT_THAT(*files, UnorderedElementsAre("itinerary.json", "itinerary.md", "budget.csv",
                                           "trip.ics", "proof.json", "session.json"));
  for (const auto& file : *files) EXPECT_GT(fs::file_size(out / file), 0U) << file;
  const auto verified = verify_artefacts(kLibrary, out);
  ASSERT_TRUE(verified) << verified.error().message;
  EXPECT_TRUE(verified->is_solved) << verified->detail;

  std::ofstream(out / "itinerary.json") << "[]";
  const auto spoiled = verify_artefacts(kLibrary, out);
  EXPECT_FALSE(spoiled && spoiled->is_solved);
}

TEST_F(WorkflowTest, ASessionThatSubmitsNothingIsNotSolved) {
  const auto workflow = open(seed_with(/*is_feasible=*/true));
  run(*workflow, {says("I would rather not.")});
  const auto verdict = workflow->judge(agent_->state());
  ASSERT_TRUE(verdict) << verdict.error().message;
  EXPECT_FALSE(verdict->is_solved);
  EXPECT_FALSE(verdict->has_answer);
  EXPECT_FALSE(workflow->write_artefacts(dir_.path() / "x", agent_->id(), agent_->state()));
}

TEST_F(WorkflowTest, ReopeningFromTheLogKnowsWhatWasCheckedAndSubmitted) {
  const std::uint64_t seed = seed_with(/*is_feasible=*/true);
  {
    const auto workflow = open(seed);
    run(*workflow, solving_script(solved_plan(seed)));
    agent_.reset();
  }
  const SessionId id = store_->resolve("last").value();
  const SessionState state = fold(store_->load(id).value());
  const auto again = Workflow::reopen(kLibrary, id, state, *store_);
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ((*again)->request(), state.conversation[1].content);
  EXPECT_EQ((*again)->session_start().environment, state.start->environment);
  const auto verdict = (*again)->judge(state);
  ASSERT_TRUE(verdict) << verdict.error().message;
  EXPECT_TRUE(verdict->is_solved) << verdict->detail;
  SessionState beginning;
  beginning.start = state.start;
  const auto at_the_beginning = Workflow::reopen(kLibrary, id, beginning, *store_);
  ASSERT_TRUE(at_the_beginning);
  EXPECT_FALSE((*at_the_beginning)->judge(state)->has_answer);
}

TEST_F(WorkflowTest, ALogFromElsewhereHasNoSayInWhereSomethingIsWrittenOrWhatIsRun) {
  const fs::path folder = dir_.path() / "project";
  fs::create_directories(folder);
  SessionStarted start;
  start.workflow = "code";
  start.environment = json({{"folder", dir_.path().string()},
                            {"test_command", "touch harm"},
                            {"sandbox", "confined"},
                            {"request", "mend it"},
                            {"directory", (dir_.path() / "out").string()}})
                          .dump();
  const std::vector<Record> records = {{1, 0, start}, {2, 0, SessionImported{}}};
  SessionState state = fold(records);
  const SessionId id{"20260101-000000-aaaaaa"};
  const auto refused = Workflow::reopen(kLibrary, id, state, *store_);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::invalid_argument);
  EXPECT_THAT(refused.error().message, HasSubstr("--folder"));

  ReopenOptions how;
  how.project.emplace();
  how.project->folder = folder;
  how.project->test_command = "true";
  const auto vouched = Workflow::reopen(kLibrary, id, state, *store_, how);
  ASSERT_TRUE(vouched) << vouched.error().message;
  EXPECT_TRUE((*vouched)->directory().empty());
  EXPECT_EQ((*vouched)->request(), "mend it");
  const json environment = json::parse((*vouched)->session_start().environment);
  EXPECT_EQ(environment.at("folder"), fs::canonical(folder).string());
  EXPECT_EQ(environment.at("test_command"), "true");
  EXPECT_EQ(environment.at("sandbox"), "isolated");

  how.directory = dir_.path() / "mine";
  const auto with_out = Workflow::reopen(kLibrary, id, state, *store_, how);
  ASSERT_TRUE(with_out) << with_out.error().message;
  EXPECT_EQ((*with_out)->directory(), how.directory);

  state.start->workflow = "fix";
  EXPECT_EQ(Workflow::reopen(kLibrary, id, state, *store_).error().code, Errc::invalid_argument);
  state.start->workflow = "assistant";
  const auto assistant = Workflow::reopen(kLibrary, id, state, *store_);
  ASSERT_TRUE(assistant) << assistant.error().message;
  EXPECT_TRUE((*assistant)->directory().empty());
}

TEST_F(WorkflowTest, ReopeningKnowsWhatSubAgentsSubmittedForksAndOthers) {
  const std::uint64_t seed = seed_with(/*is_feasible=*/true);
  for (const bool is_fork : {false, true}) {
    SCOPED_TRACE(is_fork);
    {
      const auto workflow = open(seed);
      std::vector<ScriptedStep> script = solving_script(solved_plan(seed));
      script.insert(script.begin(), calls("agent", {{"task", "plan it"}, {"fork", is_fork}}));
      script.push_back(says("There you are."));
      run(*workflow, std::move(script), /*agent_depth_max=*/1);
      EXPECT_EQ(agent_->state().last_answer(), "There you are.");
    }
    const SessionId id = agent_->id();
    agent_.reset();
    const SessionState state = fold(store_->load(id).value());
    const auto again = Workflow::reopen(kLibrary, id, state, *store_);
    ASSERT_TRUE(again) << again.error().message;
    const auto verdict = (*again)->judge(state);
    ASSERT_TRUE(verdict) << verdict.error().message;
    EXPECT_TRUE(verdict->is_solved) << verdict->detail;
  }
}

TEST_F(WorkflowTest, AnUnknownWorkflowAndAnUnknownCityAreNamed) {
  WorkflowOptions how;
  how.name = "cooking";
  how.library = kLibrary;
  const auto unknown = Workflow::open(how);
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code, Errc::not_found);
  EXPECT_THAT(unknown.error().message, HasSubstr("travel"));
  how.name = "travel";
  how.request = "Two days from Atlantis, please";
  const auto nowhere = Workflow::open(how);
  ASSERT_FALSE(nowhere);
  EXPECT_EQ(nowhere.error().code, Errc::invalid_argument);
}

TEST_F(WorkflowTest, EvaluationCountsWhatWasSolvedByKindAndSaysWhyTheRestWasNot) {
  const std::uint64_t first = seed_with(/*is_feasible=*/true);
  std::vector<ScriptedStep> script = solving_script(solved_plan(first));
  script.push_back(ScriptedStep(Error(Errc::unavailable, "the model is away")));
  ScriptedModel model(std::move(script));
  EvalOptions options;
  options.library = kLibrary;
  options.count = 2;
  options.seed = first;
  std::vector<std::uint64_t> seen;
  const auto note = [&seen](const EvalCase& done) { seen.push_back(done.task_seed); };
  const auto report = test::run(context_, run_eval(model, *store_, system_clock(), options, note));
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(seen, (std::vector<std::uint64_t>{first, first + 1}));
  ASSERT_EQ(report->cases.size(), 2U);
  EXPECT_TRUE(report->cases[0].is_solved) << report->cases[0].failure;
  EXPECT_EQ(report->cases[0].steps, 3U);
  EXPECT_EQ(report->cases[0].tool_calls, 2U);
  EXPECT_FALSE(report->cases[1].is_solved);
  EXPECT_EQ(report->cases[1].reason, "model_failed");
  EXPECT_EQ(report->cases[1].failure, "the model is away");

  const std::string table = eval_table(*report);
  EXPECT_THAT(table, HasSubstr("1 of    2   50.0%"));
  EXPECT_THAT(table, HasSubstr("not solved, model_failed: 1"));
  const json parsed = json::parse(eval_json(*report));
  EXPECT_EQ(parsed["all"]["solved"], 1);
  EXPECT_EQ(parsed["cases"].size(), 2U);
  EXPECT_EQ(parsed["failures"]["model_failed"], 1);
}

TEST_F(WorkflowTest, AnEvaluationThatIsCutOffReportsWhatWasDone) {
  const std::uint64_t first = seed_with(/*is_feasible=*/true);
  ScriptedModel model(solving_script(solved_plan(first)));
  EvalOptions options;
  options.library = kLibrary;
  options.count = 5;
  options.seed = first;
  asio::cancellation_signal stop;
  const auto note = [&stop](const EvalCase&) { stop.emit(asio::cancellation_type::terminal); };
  std::optional<Result<EvalReport>> report;
  asio::co_spawn(context_, run_eval(model, *store_, system_clock(), options, note),
                 asio::bind_cancellation_slot(
                     stop.slot(), [&report](std::exception_ptr, Result<EvalReport> result) {
                       report.emplace(std::move(result));
                     }));
  context_.run();
  ASSERT_TRUE(report && *report) << report->error().message;
  ASSERT_EQ((*report)->cases.size(), 1U);
  EXPECT_TRUE((*report)->cases[0].is_solved);
  ASSERT_TRUE((*report)->broken_off);
  EXPECT_EQ((*report)->broken_off->code, Errc::cancelled);
  EXPECT_THAT(eval_table(**report), HasSubstr("broken off after 1 of 5 tasks"));
  EXPECT_THAT(json::parse(eval_json(**report))["broken_off"].get<std::string>(), Not(IsEmpty()));
}

/// A copy of the library of which one file is a pipe: what reads it waits until somebody writes.
class SlowLibrary {
 public:
  SlowLibrary() {
    fs::copy(kLibrary, dir_.path(), fs::copy_options::recursive);
    fs::remove(pipe());
    PONDER_ASSERT(::mkfifo(pipe().c_str(), 0600) == 0);
  }
  const fs::path& path() const { return dir_.path(); }
  /// Gives the reader that waits what it wants; false when none does.
  bool write() const {
    const int descriptor = ::open(pipe().c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    if (descriptor < 0) return false;
    std::stringstream text;
    text << std::ifstream(fs::absolute(kLibrary) / "travel" / kPipe, std::ios::binary).rdbuf();
    const std::string bytes = text.str();
    const bool is_whole =
        ::write(descriptor, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size());
    ::close(descriptor);
    return is_whole;
  }

 private:
  static constexpr const char* kPipe = "rules.lua";
  fs::path pipe() const { return dir_.path() / "travel" / kPipe; }
  test::TempDir dir_;
};

TEST_F(WorkflowTest, WhileATaskIsOpenedOthersOnTheSameExecutorGoOn) {
  const SlowLibrary library;
  ScriptedModel model(
      std::vector<ScriptedStep>{ScriptedStep(Error(Errc::unavailable, "the model is away"))});
  EvalOptions options;
  options.library = library.path();
  options.count = 1;
  bool is_over = false;
  const auto note = [&is_over](const EvalCase&) { is_over = true; };
  bool is_served = false;  // once: what is written while the reader reads would be more of the same
  std::function<void()> serve = [&] {
    is_served = is_served || library.write();
    if (!is_over) asio::post(context_, serve);
  };
  asio::post(context_, serve);
  // Where the executor is held up the reader gets nothing from it, and the test must still end.
  std::promise<void> ended;
  std::atomic<bool> had_to_help = false;
  std::thread watch([&, over = ended.get_future()] {
    if (over.wait_for(std::chrono::seconds(20)) == std::future_status::ready) return;
    had_to_help = true;
    while (over.wait_for(std::chrono::milliseconds(20)) != std::future_status::ready) {
      library.write();
    }
  });
  const auto report = test::run(context_, run_eval(model, *store_, system_clock(), options, note));
  is_over = true;
  ended.set_value();
  watch.join();
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->cases[0].reason, "model_failed") << report->cases[0].failure;
  EXPECT_FALSE(had_to_help);
}

TEST(Wilson, IntervalsAreThoseOfTheTextbook) {
  // Wilson (1927); values agree with R's binom.confint(..., methods = "wilson").
  const Share most = wilson_share(8, 10);
  EXPECT_NEAR(most.low, 0.4901625, 1e-6);
  EXPECT_NEAR(most.high, 0.9433178, 1e-6);
  const Share none = wilson_share(0, 10);
  EXPECT_EQ(none.low, 0);
  EXPECT_NEAR(none.high, 0.2775328, 1e-6);
  EXPECT_EQ(wilson_share(10, 10).high, 1);
  EXPECT_EQ(wilson_share(0, 0).high, 1);
}

TEST(EvalWorlds, UnseenTasksLiveInWorldsOfTheirOwn) {
  EXPECT_EQ(world_seed_of(1'000'000), world_seed_of(1'000'009));
  EXPECT_NE(world_seed_of(1'000'000), world_seed_of(1'000'010));
  EXPECT_LT(world_seed_of(999'999), 1'000'000U);
  EXPECT_GE(world_seed_of(1'000'000), 1'000'000U);
}

TEST(DataDir, AnExplicitFolderWinsAndMustExist) {
  test::TempDir dir;
  DataDirHints hints;
  hints.option = dir.path();
  hints.executable = fs::current_path() / "build" / "release" / "ponder";
  EXPECT_EQ(find_library(hints).value(), dir.path());
  hints.option = dir.path() / "missing";
  EXPECT_THAT(find_library(hints).error().message, HasSubstr("missing"));
}

TEST(DataDir, TheSourceTreeIsFoundFromABuildFolderAndTheInstalledPlaceBeforeIt) {
  test::TempDir dir;
  const fs::path source = dir.path() / "src";
  fs::create_directories(source / "tools" / "library");
  fs::create_directories(source / "build" / "release");
  DataDirHints hints;
  hints.executable = source / "build" / "release" / "ponder";
  EXPECT_EQ(find_library(hints).value(), source / "tools" / "library");
  EXPECT_THAT(find_model(hints).error().message, HasSubstr("engine/models/mini"));
  fs::create_directories(source / "engine" / "models" / "other");
  EXPECT_EQ(find_model(hints, "other").value(), source / "engine" / "models" / "other");
  fs::create_directories(source / "build" / "share" / "ponder" / "library");
  EXPECT_EQ(find_library(hints).value(), source / "build" / "share" / "ponder" / "library");
}

TEST(ShippedModel, WhereCodeIsToBeFixedItIsAnother) {
  const fs::path library = fs::current_path() / "tools" / "library";
  EXPECT_EQ(shipped_model_for("fix", library), "mini-code");
  EXPECT_EQ(shipped_model_for("codefix", library), "mini-code");
  EXPECT_EQ(shipped_model_for("travel", library), "mini");
  EXPECT_EQ(shipped_model_for("assistant", library), "mini");
}

}  // namespace
}  // namespace ponder::runtime
