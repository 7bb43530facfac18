#include "runtime/workflow/environment_workflow.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <boost/asio/thread_pool.hpp>
#include <fstream>
#include <nlohmann/json.hpp>

#include "runtime/agent/agent.h"
#include "runtime/model/scripted_model.h"
#include "runtime/store/sqlite_session_store.h"
#include "runtime/workflow/eval.h"
#include "runtime/workflow/workflow.h"
#include "tests/runtime/support.h"
#include "tools/environment.h"
#include "tools/environment_template.h"

// Sessions in worlds that their calls change: what a log says is enough to have the same world
// again.
namespace ponder::runtime {
namespace {

namespace asio = boost::asio;
namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const fs::path kLibrary = fs::path("tools") / "library";
constexpr std::uint64_t kSeed = 1'000'000;

ScriptedStep calls(std::vector<context::ToolCall> tool_calls) {
  Completion completion;
  completion.call_faults.assign(tool_calls.size(), "");
  completion.message.tool_calls = std::move(tool_calls);
  return ScriptedStep(std::move(completion));
}

ScriptedStep says(const std::string& text) {
  Completion completion;
  completion.message.content = text;
  return ScriptedStep(std::move(completion));
}

context::ToolCall call_of(const std::string& name, const json& arguments) {
  context::ToolCall call;
  call.name = name;
  call.arguments = arguments.dump();
  return call;
}

/// The oracle's calls for a task of the retail environment.
std::vector<context::ToolCall> oracle_of(std::uint64_t task_seed) {
  asio::thread_pool pool(1);
  tools::WorldOptions world;
  world.library = kLibrary;
  world.name = "retail";
  world.seed = world_seed_of(task_seed);
  const auto environment = tools::Environment::open(world, pool.get_executor());
  PONDER_ASSERT(environment.has_value());
  const auto task = (*environment)->task(task_seed);
  PONDER_ASSERT(task.has_value());
  PONDER_ASSERT((*environment)->begin(*task).has_value());
  return (*environment)->oracle().value();
}

/// The first task from kSeed on whose oracle makes at least two calls that change the world.
std::uint64_t seed_with_changes() {
  for (std::uint64_t seed = kSeed;; ++seed) {
    const auto made = oracle_of(seed);
    const auto changes = std::count_if(made.begin(), made.end(), [](const auto& call) {
      return call.name == "return_line" || call.name == "cancel_order" ||
             call.name == "exchange_line" || call.name == "grant_credit" ||
             call.name == "change_address";
    });
    if (changes >= 2) return seed;
  }
}

class EnvironmentWorkflowTest : public ::testing::Test {
 protected:
  EnvironmentWorkflowTest() {
    store_ = std::move(*SqliteSessionStore::open(dir_.path() / "sessions.db", system_clock()));
  }

  std::unique_ptr<Workflow> open(std::uint64_t task_seed, const std::string& name = "retail") {
    WorkflowOptions how;
    how.name = name;
    how.library = kLibrary;
    how.world_seed = world_seed_of(task_seed);
    how.task_seed = task_seed;
    auto workflow = Workflow::open(how);
    PONDER_ASSERT(workflow.has_value());
    return std::move(*workflow);
  }

  AgentParts parts_for(const Workflow& workflow, std::vector<ScriptedStep> script) {
    model_ = std::make_unique<ScriptedModel>(std::move(script));
    AgentParts parts(*model_, workflow.registry(), *store_, system_clock());
    parts.grants = workflow.grants();
    parts.approvals.mode = ApprovalMode::always;
    return parts;
  }

  SessionId run(Workflow& workflow, std::vector<ScriptedStep> script) {
    auto agent = std::move(*test::run(
        context_, Agent::start(parts_for(workflow, std::move(script)), workflow.session_start())));
    EXPECT_TRUE(test::run(context_, agent->run_turn(workflow.request())));
    return agent->id();
  }

  /// The artefacts of a session, without what names the session and its calls' keys.
  std::string artefacts(Workflow& workflow, const SessionId& id) {
    const fs::path out = dir_.path() / id.value;
    const auto state = fold(store_->load(id).value());
    const auto files = workflow.write_artefacts(out, id, state);
    if (!files) return "error: " + files.error().message;
    std::ifstream proof_file(out / "proof.json");
    json proof = json::parse(proof_file);
    for (json& made : proof["calls"]) made.erase("key");
    return proof.dump();
  }

  test::TempDir dir_;
  asio::io_context context_;
  std::unique_ptr<SessionStore> store_;
  std::unique_ptr<ScriptedModel> model_;
};

/// A step for each call, but the last two changes, which are made side by side; then the last word.
std::vector<ScriptedStep> script_of(std::uint64_t task_seed) {
  std::vector<ScriptedStep> script;
  const auto made = oracle_of(task_seed);
  for (std::size_t i = 0; i < made.size(); ++i) {
    if (i + 3 == made.size()) {
      script.push_back(calls({made[i], made[i + 1]}));
      ++i;
    } else {
      script.push_back(calls({made[i]}));
    }
  }
  script.push_back(says("All done."));
  return script;
}

TEST_F(EnvironmentWorkflowTest, ASessionThatCrashedAtAnyEventGoesOnInTheSameWorld) {
  const std::uint64_t seed = seed_with_changes();
  SessionId whole;
  std::string expected;
  {
    const auto workflow = open(seed);
    whole = run(*workflow, script_of(seed));
    const auto verdict = workflow->judge(fold(store_->load(whole).value()));
    ASSERT_TRUE(verdict->is_solved) << verdict->detail;
    expected = artefacts(*workflow, whole);
  }
  const auto records = store_->load(whole).value();
  std::size_t completions = 0;
  std::size_t interrupted = 0;
  for (const Record& record : records) {
    if (std::holds_alternative<ModelCompleted>(record.event)) ++completions;
    if (std::holds_alternative<TurnEnded>(record.event)) break;
    if (record.seq < 2) continue;
    SCOPED_TRACE(record.seq);
    const SessionId branch = test::run(context_, store_->fork(whole, record.seq)).value();
    const SessionState state = fold(store_->load(branch).value());
    const auto again = Workflow::reopen(kLibrary, branch, state, *store_);
    ASSERT_TRUE(again) << again.error().message;
    auto script = script_of(seed);
    script.erase(script.begin(), script.begin() + static_cast<std::ptrdiff_t>(completions));
    auto agent = std::move(*Agent::open(parts_for(**again, std::move(script)), branch));
    ASSERT_TRUE(test::run(context_, agent->resume()));
    const auto verdict = (*again)->judge(agent->state());
    ASSERT_TRUE(verdict) << verdict.error().message;
    const auto log = store_->load(branch).value();
    const bool is_interrupted = std::any_of(log.begin(), log.end(), [](const Record& entry) {
      const auto* finished = std::get_if<ToolFinished>(&entry.event);
      return finished != nullptr && finished->outcome == Outcome::interrupted;
    });
    // A compensable call that was under way is not made again: its work is then left undone.
    interrupted += is_interrupted ? 1 : 0;
    EXPECT_EQ(verdict->is_solved, !is_interrupted) << verdict->detail;
    if (!is_interrupted) {
      EXPECT_EQ(artefacts(**again, branch), expected);
    }
    const auto verified = verify_artefacts(kLibrary, dir_.path() / branch.value);
    if (!is_interrupted) {
      EXPECT_TRUE(verified && verified->is_solved);
    }
  }
  EXPECT_GT(completions, 3U);
  EXPECT_LT(interrupted, records.size() / 3);
}

TEST_F(EnvironmentWorkflowTest, ReopeningRepeatsWhatWasDoneAndNotWhatWasRefused) {
  const fs::path file = dir_.path() / "till.lua";
  std::ofstream(file) << R"lua(
local function tool(name, effect, run)
  return { name = name, description = name, parameters = '{"type": "object"}', effect = effect,
    capabilities = { "sql_write" }, run = run }
end
return {
  name = "till", instructions = "Count.",
  build = function(db) db.exec("CREATE TABLE events(what TEXT, key TEXT)") end,
  task = function(seed) return { id = "t", kind = "k", text = "Go.", seed = seed } end,
  verify = function(task, answer, db)
    local said = {}
    for i, row in ipairs(db.sql("SELECT what FROM events ORDER BY rowid")) do said[i] = row.what end
    return { ok = true, violations = {}, said = table.concat(said, " ") }
  end,
  tools = {
    tool("add", "compensable", function(args, ctx)
      if args.what == "bad" then
        ctx.state.bad = (ctx.state.bad or 0) + 1
        return nil, "bad"
      end
      ctx.sql_write("INSERT INTO events VALUES (?, ?)", args.what .. (ctx.state.bad or ""),
        ctx.idempotency_key)
      ctx.state.submitted = "x"
      return "added"
    end),
  },
})lua";
  WorkflowOptions how;
  how.name = file.string();
  how.library = kLibrary;
  how.task_seed = 1;
  const auto workflow = Workflow::open(how);
  ASSERT_TRUE(workflow) << workflow.error().message;
  EXPECT_EQ((*workflow)->name(), file.string());
  std::vector<ScriptedStep> script;
  script.push_back(calls({call_of("add", {{"what", "one"}}), call_of("add", {{"what", "two"}})}));
  script.push_back(calls({call_of("add", {{"what", "bad"}}), call_of("subtract", json::object())}));
  script.push_back(calls({call_of("add", {{"what", "three"}})}));
  script.push_back(says("Done."));
  const SessionId id = run(**workflow, std::move(script));
  const auto state = fold(store_->load(id).value());
  const std::string before = (*workflow)->judge(state)->report;
  EXPECT_THAT(before, HasSubstr("one two three1"));
  const auto again = Workflow::reopen("/nowhere", id, state, *store_);
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ((*again)->judge(state)->report, before);
  EXPECT_EQ(artefacts(**again, id), artefacts(**workflow, id));

  // A fork goes its own way from what it shares, and its calls keep their names.
  const SessionId branch = test::run(context_, store_->fork(id)).value();
  const auto shared = fold(store_->load(branch).value());
  const auto forked = Workflow::reopen("/nowhere", branch, shared, *store_);
  ASSERT_TRUE(forked) << forked.error().message;
  const fs::path out = dir_.path() / "fork";
  ASSERT_TRUE((*forked)->write_artefacts(out, branch, shared));
  std::ifstream proof_file(out / "proof.json");
  const json proof = json::parse(proof_file);
  EXPECT_THAT(proof["calls"][0]["key"].get<std::string>(), HasSubstr(id.value + "/"));
}

TEST_F(EnvironmentWorkflowTest, ACallThatNobodyApprovedIsNotMadeWhenTheWorldIsBuiltAgain) {
  const std::uint64_t seed = seed_with_changes();
  const auto workflow = open(seed);
  auto parts = parts_for(*workflow, script_of(seed));
  parts.approvals.mode = ApprovalMode::never;
  auto agent =
      std::move(*test::run(context_, Agent::start(std::move(parts), workflow->session_start())));
  ASSERT_TRUE(test::run(context_, agent->run_turn(workflow->request())));
  const auto again = Workflow::reopen(kLibrary, agent->id(), agent->state(), *store_);
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ((*again)->judge(agent->state())->detail, workflow->judge(agent->state())->detail);
}

TEST_F(EnvironmentWorkflowTest, AnyEnvironmentCanBeEvaluated) {
  std::vector<ScriptedStep> script = script_of(kSeed + 1);
  for (int i = 0; i < 2; ++i) script.push_back(says("I cannot help."));
  ScriptedModel model(std::move(script));
  EvalOptions options;
  options.workflow = "retail";
  options.library = kLibrary;
  options.count = 2;
  options.seed = kSeed + 1;
  const auto report =
      test::run(context_, run_eval(model, *store_, system_clock(), options, [](const auto&) {}));
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_TRUE(report->cases[0].is_solved) << report->cases[0].failure;
  EXPECT_FALSE(report->cases[1].is_solved);
  EXPECT_EQ(report->cases[1].reason, "no answer");
  EXPECT_EQ(report->cases[1].failure, "no closing of the case was submitted");
}

TEST_F(EnvironmentWorkflowTest, WordsAreARequestOnlyWhereSomethingReadsThem) {
  WorkflowOptions how;
  how.name = "analyst";
  how.library = kLibrary;
  how.request = "How many tables are there?";
  EXPECT_EQ(Workflow::open(how).error().message,
            "analyst makes no tasks of a person's words (it has no function parse_request): --task "
            "SEED, or talk in ponder chat --workflow analyst");
  how.request.clear();
  const auto workflow = Workflow::open(how);
  ASSERT_TRUE(workflow) << workflow.error().message;
  const SessionId id =
      run(**workflow, {calls({call_of("list_tables", json::object())}), says("There are six.")});
  const auto state = fold(store_->load(id).value());
  EXPECT_EQ((*workflow)->judge(state)->detail, "nothing was asked for that could be verified");
  EXPECT_TRUE((*workflow)->hear("And rows?"));
}

/// The template of `ponder env new` with more in its table, and a tool of the user's beside it.
class AddedToolsTest : public EnvironmentWorkflowTest {
 protected:
  WorkflowOptions shelf(const std::string& more) {
    std::string text(tools::environment_template());
    text.insert(text.find("  kinds = "), more);
    std::ofstream(dir_.path() / "NAME.lua") << text;
    std::ofstream(dir_.path() / "clock.lua")
        << "return { name = 'clock', description = 'The hour.', effect = 'pure',\n"
           "  run = function() return '12' end }\n";
    WorkflowOptions how;
    how.name = (dir_.path() / "NAME.lua").string();
    how.task_seed = 1;
    how.has_person = true;
    how.toolset.config.tools.files = {dir_.path() / "clock.lua"};
    return how;
  }
  static std::vector<std::string> names(const Workflow& workflow) {
    std::vector<std::string> out;
    for (const auto& spec : workflow.registry().specs()) out.push_back(spec.name);
    return out;
  }
  test::TempDir dir_;
};

TEST_F(AddedToolsTest, AnEnvironmentAsksAPersonOnlyWhenItSaysSo) {
  const std::vector<std::string> own = {"list_shelf", "submit"};
  EXPECT_EQ(names(**Workflow::open(shelf(""))), own) << "a configuration changes no measurement";
  const std::vector<std::string> with_question = {"list_shelf", "submit", "ask_user"};
  WorkflowOptions asking = shelf("  asks = true,\n");
  EXPECT_EQ(names(**Workflow::open(asking)), with_question);
  asking.has_person = false;
  EXPECT_EQ(names(**Workflow::open(asking)), own);
}

TEST_F(AddedToolsTest, ToolsThatTheCommandLineNamesWorkBesideItsOwnAndAfterAResume) {
  WorkflowOptions how = shelf("");
  how.toolset.is_named = true;
  const auto workflow = std::move(*Workflow::open(how));
  const std::vector<std::string> all = {"list_shelf", "submit", "clock"};
  ASSERT_EQ(names(*workflow), all);
  const SessionId id =
      run(*workflow, {calls({call_of("clock", json::object())}),
                      calls({call_of("list_shelf", {{"shelf", 1}})}), says("I give up.")});
  const auto state = fold(store_->load(id).value());
  std::vector<std::string> results;
  for (const auto& message : state.history()) {
    if (message.role == context::Role::tool) results.push_back(message.content);
  }
  ASSERT_EQ(results.size(), 2U);
  EXPECT_EQ(results[0], "12");
  ReopenOptions as_before;
  as_before.toolset = how.toolset;
  const auto again = Workflow::reopen("/nowhere", id, state, *store_, as_before);
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(names(**again), all);
}

}  // namespace
}  // namespace ponder::runtime
