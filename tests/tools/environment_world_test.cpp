#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/thread_pool.hpp>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "tests/tools/script_folder.h"
#include "tools/environment.h"
#include "tools/player.h"

// Worlds that tools change: a bank whose accounts never lose money.
namespace ponder::tools {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kBank = R"lua(
local random = require("ponder.random")
local json = require("ponder.json")

local function tool(name, effect, capability, run)
  return { name = name, description = name .. ".", parameters = '{"type": "object"}',
    effect = effect, capabilities = { capability }, run = run }
end

local stolen

return {
  name = "bank", instructions = "Move money.",
  answer = { noun = "balance", file = "balance.json", schema = '{"type": "integer"}' },
  build = function(db, seed)
    db.exec("CREATE TABLE accounts(name TEXT PRIMARY KEY, coins INTEGER)")
    db.exec("CREATE TABLE log(key TEXT, coins INTEGER)")
    db.exec("INSERT INTO accounts VALUES ('a', ?), ('b', 5)", seed * 10)
  end,
  task = function(seed, db)
    return { id = "bank-" .. seed, kind = "move", seed = seed, text = "Move them.", bonus = seed,
      before = db.sql("SELECT coins FROM accounts WHERE name = 'a'")[1].coins }
  end,
  prepare = function(task, db)
    db.exec("UPDATE accounts SET coins = coins + ? WHERE name = 'b'", task.bonus)
  end,
  verify = function(task, answer, db)
    local b = db.sql("SELECT coins FROM accounts WHERE name = 'b'")[1].coins
    local ok = answer == b and b == 5 + task.bonus + 3
    local message = "b has " .. b .. ", must have " .. 5 + task.bonus + 3
    return { ok = ok, violations = ok and {} or { { message = message } } }
  end,
  tools = {
    tool("move", "idempotent", "sql_write", function(args, ctx)
      local key = ctx.idempotency_key
      if ctx.sql("SELECT 1 FROM log WHERE key = ?", key)[1] then return "moved before" end
      ctx.sql_write("INSERT INTO log VALUES (?, ?)", key, args.coins)
      ctx.sql_write("UPDATE accounts SET coins = coins - ? WHERE name = 'a'", args.coins)
      if args.fails then return nil, "the clerk left" end
      if args.breaks then error("the till broke") end
      ctx.sql_write("UPDATE accounts SET coins = coins + ? WHERE name = 'b'", args.coins)
      return "moved"
    end),
    tool("steal", "idempotent", "sql_write", function(args, ctx)
      stolen = ctx.sql_write return "" end),
    tool("use_stolen", "pure", "sql", function() stolen("DELETE FROM accounts") return "" end),
    tool("write", "idempotent", "sql_write", function(args, ctx)
      ctx.sql_write(args.sql) return "written" end),
    tool("endless", "idempotent", "sql_write", function(args, ctx)
      ctx.sql_write("INSERT INTO log WITH RECURSIVE n(i) AS "
        .. "(SELECT 1 UNION ALL SELECT i + 1 FROM n) "
        .. "SELECT i % 3, sum(i) FROM n GROUP BY i % 3") return "never" end),
    tool("grid", "pure", "sql", function(args, ctx)
      local query = "SELECT coins, name, coins FROM accounts WHERE name = 'a'"
      return json.encode(ctx.sql_grid(query)) end),
    tool("nulls", "pure", "sql", function(args, ctx)
      local grid = ctx.sql_grid("SELECT NULL, 2")
      return type(grid.rows[1][1]) .. " " .. #grid.rows[1] end),
    tool("submit", "idempotent", "sql", function(args, ctx)
      ctx.state.submitted = args.value return "ok" end),
    tool("chance", "pure", "sql", function() return tostring(random.stream("x", 1):int(1, 6)) end),
  },
}
)lua";

class WorldOfEnvironment : public ::testing::Test {
 protected:
  WorldOfEnvironment() {
    folder_.write("bank.lua", kBank);
    begin(4);
  }

  void begin(std::uint64_t task_seed) {
    player_.reset();
    WorldOptions options;
    options.library = folder_.path();
    options.name = "bank";
    options.seed = 10;
    auto opened = Environment::open(options, pool_.get_executor());
    ASSERT_TRUE(opened) << opened.error().message;
    environment_ = std::move(*opened);
    player_ = std::move(*Player::make(*environment_));
    const auto task = environment_->task(task_seed);
    ASSERT_TRUE(task) << task.error().message;
    ASSERT_TRUE(environment_->begin(*task));
  }

  std::string call(const std::string& tool, const std::string& arguments = "{}",
                   const std::string& key = "") {
    context::ToolCall call;
    call.name = tool;
    call.arguments = arguments;
    const auto output = player_->call(call, key.empty() ? std::to_string(++calls_) : key);
    EXPECT_TRUE(output) << output.error().message;
    return output ? output->content : "";
  }
  std::string world() { return environment_->dump().value(); }

  tests::ScriptFolder folder_;
  boost::asio::thread_pool pool_{1};
  std::unique_ptr<Environment> environment_;
  std::unique_ptr<Player> player_;
  int calls_ = 0;
};

TEST_F(WorldOfEnvironment, AToolChangesItAndTheNextTaskFindsItAsItWasBuilt) {
  const std::string before = world();
  EXPECT_THAT(before, HasSubstr("accounts|3:b|1:9")) << "prepared for the task: 5 and 4";
  EXPECT_EQ(call("move", R"({"coins": 3})"), "moved");
  EXPECT_THAT(world(), HasSubstr("accounts|3:a|1:97"));
  EXPECT_THAT(world(), HasSubstr("accounts|3:b|1:12"));
  const auto task = environment_->task(4);
  ASSERT_TRUE(task);
  EXPECT_EQ(nlohmann::json::parse(task->json)["before"], 100) << "drawn in the changed world";
  ASSERT_TRUE(environment_->begin(*task));
  EXPECT_EQ(world(), before);
}

TEST_F(WorldOfEnvironment, ACallThatFailsChangesNothing) {
  const std::string before = world();
  EXPECT_EQ(call("move", R"({"coins": 3, "fails": true})"), "error: the clerk left");
  EXPECT_EQ(world(), before);
  EXPECT_THAT(call("move", R"({"coins": 3, "breaks": true})"), HasSubstr("the till broke"));
  EXPECT_EQ(world(), before);
  call("move", R"({"coins": 3})");
  EXPECT_NE(world(), before);
}

TEST_F(WorldOfEnvironment, ACallThatIsStoppedInTheMiddleOfAStatementLosesNoEarlierChange) {
  call("move", R"({"coins": 3})");
  const std::string before = world();
  EXPECT_THAT(call("endless"), HasSubstr("instruction limit reached"));
  EXPECT_EQ(world(), before);
  call("move", R"({"coins": 2})");
  EXPECT_THAT(world(), HasSubstr("accounts|3:b|1:14"));
  const auto task = environment_->task(4);
  ASSERT_TRUE(environment_->begin(*task));
  EXPECT_THAT(world(), HasSubstr("accounts|3:b|1:9"));
}

TEST_F(WorldOfEnvironment, TheSameCallUnderItsKeyIsMadeOnce) {
  EXPECT_EQ(call("move", R"({"coins": 3})", "s/1/0"), "moved");
  const std::string once = world();
  EXPECT_EQ(call("move", R"({"coins": 3})", "s/1/0"), "moved before");
  EXPECT_EQ(world(), once);
}

TEST_F(WorldOfEnvironment, StatementsReachNeitherTransactionsNorOtherDatabases) {
  const std::string before = world();
  const auto write = [this](const std::string& sql) {
    return call("write", R"({"sql": ")" + sql + "\"}");
  };
  const std::string file = (folder_.path() / "x.db").string();
  for (const std::string& sql :
       {std::string("COMMIT"), std::string("ROLLBACK"), std::string("SAVEPOINT x"),
        std::string("RELEASE call"), std::string("PRAGMA max_page_count=1"),
        std::string("CREATE TEMP TABLE t(x)"),
        "ATTACH '" + file + "' AS x"}) {
    EXPECT_THAT(write(sql), HasSubstr("are not allowed here")) << sql;
  }
  EXPECT_THAT(write("VACUUM INTO '" + file + "'"), HasSubstr("cannot VACUUM"));
  EXPECT_FALSE(std::filesystem::exists(file));
  EXPECT_EQ(world(), before);
  EXPECT_EQ(write("DELETE FROM log"), "written");
}

TEST_F(WorldOfEnvironment, AFunctionThatWasKeptChangesNothingLater) {
  call("steal");
  EXPECT_THAT(call("use_stolen"), HasSubstr("the world does not change now"));
  EXPECT_THAT(world(), HasSubstr("accounts|3:a"));
}

TEST_F(WorldOfEnvironment, WhatIsRememberedOfItsChangesIsBounded) {
  const std::string write =
      R"({"sql": "UPDATE log SET key = ')" + std::string(900'000, 'x') + R"('"})";
  std::string said = "written";
  int writes = 0;
  for (; said == "written" && writes < 100; ++writes) said = call("write", write);
  EXPECT_THAT(said, HasSubstr("the changes of this world are over 64 MiB"));
  EXPECT_GT(writes, 50);
  begin(4);
  EXPECT_EQ(call("write", write), "written");
}

TEST_F(WorldOfEnvironment, AToolThatChangesItCannotCallItselfPure) {
  folder_.write("bank.lua",
                "return { build = type, tools = { { name = 'x', parameters = '{}', effect = 'pure',"
                "  capabilities = { 'sql_write' }, run = type } } }");
  WorldOptions options;
  options.library = folder_.path();
  options.name = "bank";
  const auto opened = Environment::open(options, pool_.get_executor());
  ASSERT_FALSE(opened);
  EXPECT_THAT(opened.error().message, HasSubstr("tool 'x' asks for 'sql_write' and calls itself"));
}

TEST_F(WorldOfEnvironment, AFolderOfArtefactsHoldsTheCallsAndIsVerifiedByMakingThemAgain) {
  call("move", R"({"coins": 1})");
  call("move", R"({"coins": 9, "fails": true})");
  call("move", R"({"coins": 2})");
  call("submit", R"({"value": 12})");
  ASSERT_TRUE(environment_->judge()->is_solved);
  const auto files = environment_->artefacts();
  ASSERT_TRUE(files) << files.error().message;
  const tests::ScriptFolder out;
  std::vector<std::string> names;
  for (const Artefact& file : *files) {
    names.push_back(file.file_name);
    out.write(file.file_name, file.content);
  }
  EXPECT_THAT(names, ElementsAre("balance.json", "proof.json"));
  const auto check = [&] {
    return verify_artefacts(folder_.path(), out.path(), pool_.get_executor());
  };
  const auto verified = check();
  ASSERT_TRUE(verified) << verified.error().message;
  EXPECT_TRUE(verified->is_ok);

  auto proof = nlohmann::json::parse(files->back().content);
  ASSERT_EQ(proof["calls"].size(), 2U);
  proof["calls"].erase(1);
  out.write("proof.json", proof.dump());
  EXPECT_THAT(check()->violations, ElementsAre("b has 10, must have 12"));
  proof["calls"][0]["tool"] = "rob";
  out.write("proof.json", proof.dump());
  EXPECT_THAT(check().error().message, HasSubstr("proof.json: the call of rob fails now"));
}

TEST_F(WorldOfEnvironment, AnAnswerOfAnotherFormIsAWrongAnswer) {
  call("submit", R"({"value": "twelve"})");
  const auto judged = environment_->judge();
  ASSERT_TRUE(judged) << judged.error().message;
  EXPECT_TRUE(judged->is_submitted);
  EXPECT_FALSE(judged->is_solved);
  EXPECT_THAT(judged->detail, HasSubstr("the balance: "));
  EXPECT_EQ(environment_->verify("\"twelve\"").error().code, Errc::invalid_argument);
}

TEST_F(WorldOfEnvironment, WithoutASolverWhoSubmitsNothingHasNotSolvedIt) {
  const auto judged = environment_->judge();
  EXPECT_FALSE(judged->is_solved);
  EXPECT_EQ(judged->detail, "no balance was submitted");
}

TEST_F(WorldOfEnvironment, RowsCanBeReadAsAGridInTheOrderOfTheQuery) {
  EXPECT_EQ(nlohmann::json::parse(call("grid")),
            nlohmann::json::parse(R"({"columns": ["coins", "name", "coins"],
                                      "rows": [[100, "a", 100]]})"));
  EXPECT_EQ(call("nulls"), "userdata 2");
}

TEST_F(WorldOfEnvironment, AFileAnywhereIsAnEnvironmentAndMayRequireWhatTheProgramBrings) {
  WorldOptions options;
  options.library = "/nowhere";
  options.name = (folder_.path() / "bank.lua").string();
  options.seed = 10;
  const auto opened = Environment::open(options, pool_.get_executor());
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_EQ(call("chance"), call("chance"));
  options.name = (folder_.path() / "absent.lua").string();
  EXPECT_EQ(Environment::open(options, pool_.get_executor()).error().code, Errc::not_found);
  options.name = folder_.path().string();
  EXPECT_EQ(Environment::open(options, pool_.get_executor()).error().code, Errc::not_found);
}

}  // namespace
}  // namespace ponder::tools
