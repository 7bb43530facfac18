#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <filesystem>
#include <future>
#include <string>
#include <utility>

#include "base/async/task_group.h"
#include "tests/tools/script/script_host.h"
#include "tools/process/sandbox_support.h"

namespace ponder::tools {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class ScriptTool : public tests::ScriptHost {};

TEST_F(ScriptTool, TextIsTheResultAsItIsAndTablesAreJson) {
  EXPECT_EQ(run("return 'a \"b\"'"), "a \"b\"");
  EXPECT_EQ(run("return {b = 1, a = {1, 2.5, 'x', ctx.json.null}}"),
            R"({"a":[1,2.5,"x",null],"b":1})");
  EXPECT_EQ(run("return nil, 'no such city'"), "error: no such city");
  EXPECT_EQ(run("local x = 1"), "error: the tool gave no result");
  EXPECT_EQ(run("local x = nil\nreturn x.y"),
            "error: probe.lua:6: attempt to index a nil value (local 'x')");
  EXPECT_EQ(run("error({code = 7})"), "error: probe.lua:5: the error is a table");
}

TEST_F(ScriptTool, ACallSeesNothingOfAnotherCall) {
  folder_.write("probe.lua", R"(
    local count, seen = 0, {}
    return { name = 'probe', description = 'Counts.', effect = 'pure',
      run = function(args, ctx)
        count = count + 1
        seen[#seen + 1] = args.who
        string.leak, ctx.leak = (string.leak or '') .. args.who, (ctx.leak or '') .. args.who
        return count .. table.concat(seen) .. string.leak .. ctx.leak
      end })");
  ASSERT_TRUE(load());
  for (const char* who : {"a", "b", "c"}) {
    EXPECT_EQ(call(R"({"who":")" + std::string(who) + "\"}"), "1" + std::string(3, who[0]));
  }
}

TEST_F(ScriptTool, FunctionsThatWaitLookSynchronousAlsoInCoroutinesAndProtectedCalls) {
  EXPECT_EQ(run(R"(
    local out = {}
    local numbers = coroutine.wrap(function()
      for i = 1, 3 do ctx.sleep(0.001) coroutine.yield(i) end
    end)
    for i in numbers do out[#out + 1] = i end
    local inner = coroutine.create(function()
      local nested = coroutine.wrap(function() ctx.sleep(0) coroutine.yield('deep') end)
      coroutine.yield(nested())
      return select('#', ctx.sleep(0)), 'end'
    end)
    out[#out + 1] = select(2, coroutine.resume(inner))
    out[#out + 1] = select(3, coroutine.resume(inner))
    local ok = pcall(function() ctx.sleep(0) error('x') end)
    out[#out + 1] = tostring(ok)
    local slow_pairs = function() ctx.sleep(0) return next, {k = 1} end
    for key in pairs(setmetatable({}, {__pairs = slow_pairs})) do
      out[#out + 1] = key
    end
    local slow = setmetatable({}, {__index = function(_, key) ctx.sleep(0) return key .. '!' end})
    out[#out + 1] = slow.field
    out[#out + 1] = coroutine.status(inner)
    return table.concat(out, ' '))"),
            "1 2 3 deep end false k field! dead");
}

TEST_F(ScriptTool, WaitingBelowAFunctionInCIsRefusedAndSaysWhy) {
  EXPECT_THAT(run("table.sort({3, 2, 1}, function(a, b) ctx.sleep(0) return a < b end) return 1"),
              HasSubstr("probe.lua:5: ctx.sleep: cannot wait here"));
  // Also in a coroutine that is resumed there; afterwards waiting works again.
  EXPECT_EQ(run(R"(
    local message
    table.sort({2, 1}, function(a, b)
      local ok, why = coroutine.resume(coroutine.create(function() ctx.sleep(0) end))
      message = why
      return a < b
    end)
    ctx.sleep(0)
    return tostring(string.find(message, 'cannot wait here', 1, true) ~= nil))"),
            "true");
}

TEST_F(ScriptTool, LongComputationIsPausedSoThatOthersGoOnMeanwhile) {
  folder_.write("probe.lua", tool("local n = 0 for i = 1, 3000000 do n = n + i end return n"));
  ASSERT_TRUE(load());
  boost::asio::io_context io;
  int turns = 0;
  bool is_done = false;
  context::ToolCall probe;
  probe.name = "probe";
  probe.arguments = "{}";
  std::optional<Result<ToolOutput>> output;
  boost::asio::co_spawn(
      io, tests::store_result(tests::call_tool(*registry_, probe, {}, context()), &output),
      [&is_done](std::exception_ptr) { is_done = true; });
  std::function<void()> turn = [&] {
    ++turns;
    if (!is_done) boost::asio::post(io, turn);
  };
  boost::asio::post(io, turn);
  io.run();
  ASSERT_TRUE(output && *output);
  EXPECT_EQ((*output)->content, "4500001500000");
  EXPECT_GT(turns, 20);
}

TEST_F(ScriptTool, AStateThatIsNotReadyYetIsMadeOnThePool) {
  options_.warm_states = 0;
  folder_.write("probe.lua", tool("return 'made'"));
  ASSERT_TRUE(load());
  std::promise<void> is_free;  // the pool's only thread waits for it
  boost::asio::post(pool_, [&is_free] { is_free.get_future().wait(); });
  boost::asio::io_context io;
  context::ToolCall probe;
  probe.name = "probe";
  probe.arguments = "{}";
  std::optional<Result<ToolOutput>> output;
  boost::asio::co_spawn(
      io, tests::store_result(tests::call_tool(*registry_, probe, {}, context()), &output),
      [](std::exception_ptr) {});
  bool was_blocked = true;
  boost::asio::post(io, [&] {
    was_blocked = output.has_value();
    is_free.set_value();
  });
  io.run();
  EXPECT_FALSE(was_blocked);
  ASSERT_TRUE(output && *output);
  EXPECT_EQ((*output)->content, "made");
}

TEST_F(ScriptTool, ACallThatNeverEndsIsEndedByItsLimits) {
  options_.instructions_max = 5'000'000;
  EXPECT_EQ(run("while true do end"), "error: probe.lua:5: instruction limit reached");
  EXPECT_EQ(run("while true do pcall(function() while true do end end) end"),
            "error: probe.lua:5: instruction limit reached");
  options_.instructions_max = 1'000'000'000'000;
  options_.time_max = std::chrono::milliseconds(50);
  EXPECT_EQ(run("while true do end"), "deadline: the deadline passed");
  EXPECT_EQ(run("ctx.sleep(1000) return 1"), "deadline: the deadline passed");
  EXPECT_EQ(run("return 'well'"), "well");
}

TEST_F(ScriptTool, ItsTimeIsItsOwnAndNotThatOfAUsualCall) {
  EXPECT_EQ(run("return 'well'"), "well");
  EXPECT_TRUE(registry_->find("probe")->limits_its_time());
}

TEST_F(ScriptTool, AProgramThatItRunsChangesNoRepository) {
  const Status support = check_support(sandbox_support(), Isolation::isolated);
  if (!support) GTEST_SKIP() << support.error().message;
  const tests::ScriptFolder project;
  project.write(".git/config", "[core]\n");
  options_.grants = {"exec", "fs:" + project.path().string()};
  const std::string said =
      run("local done = ctx.exec({'sh', '-c', 'echo evil >> .git/config; mkdir -p x/.git; echo y > "
          "y'})\n"
          "return done.stderr",
          "'exec', 'fs'");
  EXPECT_THAT(said, HasSubstr("x/.git was removed: a repository may not be made here]"));
  EXPECT_EQ(std::filesystem::file_size(project.path() / ".git/config"), 7U);
  EXPECT_TRUE(std::filesystem::exists(project.path() / "y"));
  EXPECT_FALSE(std::filesystem::exists(project.path() / "x/.git"));
}

boost::asio::awaitable<void> cancel_soon(TaskGroup* group) {
  boost::asio::steady_timer timer(co_await boost::asio::this_coro::executor,
                                  std::chrono::milliseconds(20));
  co_await timer.async_wait(boost::asio::use_awaitable);
  group->cancel();
}

boost::asio::awaitable<Result<ToolOutput>> run_cancelled(
    boost::asio::awaitable<Result<ToolOutput>> work) {
  TaskGroup group(co_await boost::asio::this_coro::executor);
  std::optional<Result<ToolOutput>> output;
  group.spawn(tests::store_result(std::move(work), &output));
  group.spawn(cancel_soon(&group));
  co_await group.join();
  co_return std::move(*output);
}

TEST_F(ScriptTool, CancellingEndsWaitingAndComputing) {
  for (const char* body :
       {"ctx.sleep(1000) return 1", "while true do end", "while true do pcall(ctx.sleep, 1000) end",
        "return ctx.sql('WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 "
        "FROM n) SELECT sum(i) FROM n')"}) {
    options_.grants = {"sql"};
    options_.instructions_max = 1'000'000'000'000;
    folder_.write("probe.lua", tool(body, "'sql'"));
    ASSERT_TRUE(load());
    context::ToolCall probe;
    probe.name = "probe";
    probe.arguments = "{}";
    const auto output =
        tests::run_sync(run_cancelled(tests::call_tool(*registry_, probe, {"sql"}, context())));
    ASSERT_FALSE(output) << body;
    EXPECT_EQ(output.error().code, Errc::cancelled) << body;
  }
}

TEST_F(ScriptTool, JsonRegexAndTimeNeedNoGrant) {
  EXPECT_EQ(run(R"(
    local value = ctx.json.decode('{"a": [1, null, 2.5]}')
    local bad, why = ctx.json.decode('{')
    return { round = ctx.json.encode(value), is_null = value.a[2] == ctx.json.null,
             bad = bad == nil and why ~= nil })"),
            R"({"bad":true,"is_null":true,"round":"{\"a\":[1,null,2.5]}"})");
  EXPECT_EQ(run(R"(
    local m = ctx.regex.match('on 2025-10-01', '(\\d+)-(\\d+)-(?:(x)|\\d)')
    local all = ctx.regex.all('a1b22', '\\d+')
    return { m.text, m.first, m.last, m.groups[1], m.groups[3] == ctx.json.null, #all, all[2].text,
             ctx.regex.replace('a1b22', '(\\d)', '<$1$$>'), ctx.regex.match('x', 'y') == nil,
             ctx.regex.replace('äö', '', '-') })"),
            R"(["2025-10-0",4,12,"2025",true,2,"22","a<1$>b<2$><2$>",true,"-ä-ö-"])");
  EXPECT_EQ(run(R"(
    return { ctx.time.format(1759307400), ctx.time.format(0, '%d.%m.%Y'),
             ctx.time.parse('2025-10-01T10:30:00.5+02:00'), ctx.time.parse('1970-01-02'),
             ctx.time.parse('01.10.2025', '%d.%m.%Y'), (ctx.time.parse('2025-02-31')) == nil,
             (ctx.time.parse('soon')) == nil })"),
            R"(["2025-10-01T08:30:00Z","01.01.1970",1759307400.5,86400.0,1759276800.0,true,true])");
}

TEST_F(ScriptTool, NoPartOfATimeFormatKnowsTheMachinesTimeZone) {
  for (const char* letter : {"%s", "%z", "%Z", "%c"}) {
    EXPECT_THAT(run("return ctx.time.format(0, '" + std::string(letter) + "')"),
                HasSubstr("is no part of a time format"));
  }
}

TEST_F(ScriptTool, TheTimeThatAToolSawIsInTheLog) {
  const std::string said = run("return string.format('%.3f', ctx.time.now())");
  ASSERT_EQ(services_.notes.size(), 1U);
  EXPECT_EQ("time: " + said.substr(0, said.size() - 4) + said.substr(said.size() - 3),
            services_.notes[0]);
}

TEST_F(ScriptTool, TheSessionKeepsValuesAndIsToldOfProgressAndLogs) {
  options_.grants = {"kv", "ask", "agent"};
  services_.answer = "yes";
  EXPECT_EQ(run(R"(
    ctx.log('begins') ctx.progress('half', 0.5)
    local before = ctx.kv.get('seen')
    ctx.kv.set('seen', {n = 1})
    ctx.kv.set('gone', 1) ctx.kv.set('gone', nil)
    return { before == nil, ctx.kv.get('seen').n, ctx.ask('Really?'),
             ctx.agent('count', {steps_max = 3}), ctx.idempotency_key })",
                "'kv', 'ask', 'agent'"),
            R"([true,1,"yes","did: count","session-1/7"])");
  EXPECT_THAT(services_.notes, ElementsAre("log: begins"));
  EXPECT_THAT(services_.shown, ElementsAre("half"));
  EXPECT_THAT(services_.questions, ElementsAre("Really?"));
  EXPECT_EQ(services_.values, (std::map<std::string, std::string>{{"seen", R"({"n":1})"}}));
}

TEST_F(ScriptTool, WithoutASessionItSaysSo) {
  options_.grants = {"kv"};
  folder_.write("probe.lua", tool("return select(2, ctx.kv.get('x'))", "'kv'"));
  ASSERT_TRUE(load());
  context::ToolCall probe;
  probe.name = "probe";
  probe.arguments = "{}";
  ToolContext alone(system_clock(), Deadline::never(), 1000);
  const auto output = tests::run_sync(tests::call_tool(*registry_, probe, {"kv"}, alone));
  ASSERT_TRUE(output);
  EXPECT_EQ(output->content, "the call belongs to no session");
}

TEST_F(ScriptTool, WhatIsNotDeclaredOrNotGrantedSaysWhichOfTheTwo) {
  EXPECT_EQ(
      run("return ctx.fs.read('x')"),
      "error: probe.lua:5: ctx.fs.read: the tool does not declare the capability \"fs-read\"");
  EXPECT_EQ(run("return ctx.exec({'ls'})", "'exec'"),
            "error: tool 'probe' needs the capability 'exec', which was not granted");
  // A session that grants what the tools' options do not: the function itself refuses.
  folder_.write("probe.lua", tool("return ctx.exec({'ls'})", "'exec'"));
  ASSERT_TRUE(load());
  capabilities_ = {"exec"};
  EXPECT_EQ(
      call(),
      "error: probe.lua:5: ctx.exec: the capability \"exec\" is declared but was not granted");
}

TEST_F(ScriptTool, FilesAreThoseOfTheGrantedFolder) {
  const tests::ScriptFolder notes;
  notes.write("a.txt", "alpha");
  std::filesystem::create_symlink("/etc", notes.path() / "etc");
  options_.grants = {"fs:" + notes.path().string()};
  EXPECT_EQ(run(R"(
    assert(ctx.fs.write('sub/b.txt', 'beta'))
    local names = {}
    for _, entry in ipairs(ctx.fs.list()) do names[#names + 1] = entry.kind .. ' ' .. entry.name end
    local gone, why = ctx.fs.read('../x')
    local link = ctx.fs.read('etc/passwd')
    return { ctx.fs.read('a.txt'), ctx.fs.read('sub/b.txt'), names, gone == nil and why ~= nil,
             link == nil, (ctx.fs.read('none')) == nil })",
                "'fs'"),
            R"(["alpha","beta",["file a.txt","link etc","folder sub"],true,true,true])");
  options_.grants = {"fs-read:" + notes.path().string()};
  EXPECT_EQ(run("return ctx.fs.read('a.txt')", "'fs-read'"), "alpha");
  EXPECT_THAT(run("return ctx.fs.write('a.txt', '')", "'fs-read'"),
              HasSubstr("does not declare the capability \"fs\""));
  EXPECT_THAT(run("return ctx.fs.write('a.txt', '')", "'fs'"), HasSubstr("was not granted"));
}

TEST_F(ScriptTool, TheDatabaseIsTheToolsOwnAndStays) {
  options_.grants = {"sql"};
  EXPECT_EQ(run(R"(
    assert(ctx.sql('CREATE TABLE IF NOT EXISTS t(a, b)'))
    assert(ctx.sql('INSERT INTO t VALUES (?, ?)', 1, 'x'))
    assert(ctx.sql('INSERT INTO t VALUES (?, ?)', 2.5, nil))
    return ctx.sql('SELECT * FROM t ORDER BY a'))",
                "'sql'"),
            R"([{"a":1,"b":"x"},{"a":2.5}])");
  const std::string outside = (folder_.path() / "outside.db").string();
  EXPECT_EQ(
      run("local out = {}\n"
          "for _, sql in ipairs { \"ATTACH '" +
              outside +
              "' AS o\", 'PRAGMA user_version=3',"
              "\"VACUUM INTO '" +
              outside +
              "'\", 'BEGIN', 'SELECT 1; SELECT 2', 'nonsense' } do\n"
              "  local rows, why = ctx.sql(sql)\n  out[#out + 1] = rows == nil and #why > 0\nend\n"
              "out[#out + 1] = #ctx.sql('SELECT * FROM t')\nreturn out",
          "'sql'"),
      "[true,true,true,true,true,true,2]");
  EXPECT_FALSE(std::filesystem::exists(outside));
}

TEST_F(ScriptTool, AStatementThatNeverEndsIsEndedByTheDeadline) {
  options_.grants = {"sql"};
  options_.time_max = std::chrono::milliseconds(200);
  EXPECT_EQ(run("return ctx.sql('WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n) "
                "SELECT count(*) FROM n')",
                "'sql'"),
            "deadline: the deadline passed");
}

TEST_F(ScriptTool, ASecretIsUsedWithoutBeingSeen) {
  options_.grants = {"secret:key", "kv", "ask"};
  services_.answer = "is it hunter2hunter2?";
  const std::string said = run(R"(
    local token = 'Bearer ' .. ctx.secret('key')
    ctx.log('asked ' .. tostring(token))
    local answer = ctx.ask('what?')
    ctx.log(answer) ctx.progress(answer) ctx.kv.set('k', answer) ctx.ask(answer)
    local opened = pcall(function() return #token end) or pcall(ctx.json.encode, token)
                   or pcall(string.rep, token, 2) or pcall(next, token)
    return { tostring(token), answer, opened, getmetatable(token) })",
                               "'secret:key', 'kv', 'ask'");
  EXPECT_EQ(said, R"(["[secret]","is it [secret]?",false,false])");
  EXPECT_THAT(services_.notes, ElementsAre("log: asked [secret]", "log: is it [secret]?"));
  EXPECT_THAT(services_.shown, ElementsAre("is it [secret]?"));
  EXPECT_EQ(services_.values["k"], "\"is it [secret]?\"");
  EXPECT_EQ(services_.questions.back(), "is it [secret]?");
  EXPECT_EQ(
      run("error('it was ' .. ctx.ask('x') .. tostring(ctx.secret('key')))", "'secret:key', 'ask'"),
      "error: probe.lua:5: it was is it [secret]?[secret]");
  EXPECT_THAT(run("return ctx.secret('other')", "'secret:key'"),
              HasSubstr("\"secret:other\" is not declared or was not granted"));
}

TEST_F(ScriptTool, ASecretIsTakenOutOfJsonToo) {
  options_.grants = {"secret:key", "ask"};
  options_.secrets = [](const std::string&) -> Result<std::string> { return "a\"b\\c"; };
  services_.answer = "it is a\"b\\c";
  EXPECT_EQ(run("ctx.secret('key') return {ctx.ask('?')}", "'secret:key', 'ask'"),
            R"(["it is [secret]"])");
}

TEST_F(ScriptTool, AWrongUseSaysWhatIsExpected) {
  EXPECT_EQ(run("ctx.sleep('long')"),
            "error: probe.lua:5: ctx.sleep: argument 1 must be a number, got string");
  options_.grants = {"http", "ask"};
  EXPECT_EQ(run("ctx.http.get('http://a.example/', {timeout = 3})", "'http'"),
            "error: probe.lua:5: ctx.http.get: there is no option 'timeout', there are: headers, "
            "body, json, seconds_max, bytes_max");
  EXPECT_EQ(run("ctx.ask('x', {choices = 'yes'})", "'ask'"),
            "error: probe.lua:5: ctx.ask: option 'choices' must be a list of strings");
}

TEST_F(ScriptTool, ATableThatIsNoJsonAndBytesThatAreNoTextAreClearToTheModel) {
  EXPECT_EQ(run("local t = {} t.t = t return t"),
            "error: the tool's result: tables are nested deeper than 128 levels");
  EXPECT_EQ(run("return {f = print or function() end}"),
            "error: the tool's result: a function has no JSON form");
  EXPECT_EQ(run("return 'a\\xff\\xfeb'"),
            "a\xEF\xBF\xBD\xEF\xBF\xBD"
            "b\n[bytes that are no UTF-8 were replaced]");
  output_bytes_max_ = 100;
  EXPECT_THAT(run("return string.rep('x', 100000)"), HasSubstr("[cut: 100 of 100000 bytes]"));
}

TEST_F(ScriptTool, FaultsOfAllFilesAreToldAtOnceWithTheirLines) {
  folder_.write("bad.lua", R"(return {
  name = "no spaces please",
  effect = "harmless",
  parameters = { type = "object", properties = {
    city = { type = "text" } } },
  capabilities = { "http", "wings" },
  runs = function() end,
})");
  folder_.write("corrupt.lua", "\x1bLua\x54");
  folder_.write("one.lua", tool("return 1"));
  folder_.write("two.lua", tool("return 2"));
  const Status status = load();
  ASSERT_FALSE(status);
  const std::string& said = status.error().message;
  EXPECT_THAT(said, HasSubstr("bad.lua:2: name: 'no spaces please' is no name for a tool"));
  EXPECT_THAT(said, HasSubstr("bad.lua: description must say what the tool does"));
  EXPECT_THAT(said, HasSubstr("bad.lua:3: effect: 'harmless' is no effect"));
  EXPECT_THAT(said, HasSubstr("bad.lua:5: parameters: schema at #/properties/city/type"));
  EXPECT_THAT(said, HasSubstr("bad.lua:6: capabilities: 'wings' is no capability"));
  EXPECT_THAT(said, HasSubstr("bad.lua:7: there is no field 'runs'"));
  EXPECT_THAT(said, HasSubstr("bad.lua: run must be a function"));
  EXPECT_THAT(said, HasSubstr("corrupt.lua: attempt to load a binary chunk"));
  EXPECT_THAT(said, HasSubstr("two.lua: there are two tools 'probe', the other is in"));
  EXPECT_TRUE(registry_->specs().empty());
}

TEST_F(ScriptTool, TheGateSpeaksBeforeTheTool) {
  folder_.write("probe.lua", R"(return { name = 'probe', description = 'd', effect = 'pure',
    parameters = { type = 'object', properties = { n = { type = 'integer', minimum = 1 } },
                   required = { 'n' }, additionalProperties = false },
    run = function(args) return 'n is ' .. args.n end })");
  ASSERT_TRUE(load());
  EXPECT_EQ(call(R"({"n": 3})"), "n is 3");
  EXPECT_EQ(call(R"({"n": 0})"), "error: parameter 'n': must be at least 1, got 0");
  EXPECT_THAT(call("{}"), HasSubstr("'n'"));
  EXPECT_EQ(call("{}", "weather"), "error: there is no tool 'weather', there are: probe");
}

}  // namespace
}  // namespace ponder::tools
