#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>

#include "tests/tools/script_folder.h"
#include "tools/lua/json_convert.h"
#include "tools/lua/sandbox.h"
#include "tools/lua/state.h"

namespace ponder::tools::lua {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr std::int64_t kPlenty = 100'000'000;

/// Runs scripts as environments: a script's value is what it returns.
class Sandbox : public ::testing::Test {
 protected:
  static constexpr std::size_t kMemoryBytes = 16 << 20;

  static int push_environment(lua_State* L) {
    lua_getfield(L, LUA_REGISTRYINDEX, kEnvironmentKey);
    return 1;
  }

  Result<std::string> run_with(const std::string& script, const Budget& budget) {
    folder_.write("script.lua", script);
    PONDER_TRY(state_, State::create(kMemoryBytes, system_clock()));
    PONDER_CHECK(load_environment(*state_, folder_.path(), "script", budget));
    PONDER_CHECK(state_->call(push_environment, nullptr, 1, budget));
    auto value = to_json(state_->raw(), -1);
    state_->reset_stack();
    if (!value) return tl::unexpected(value.error());
    return value->is_string() ? value->get<std::string>() : dump_json(*value);
  }

  /// What the script returns: text as it is, other values as JSON.
  std::string run(const std::string& script) {
    auto value = run_with(script, Budget(kPlenty, Deadline::never(), nullptr));
    EXPECT_TRUE(value) << value.error().message;
    return value ? *value : "";
  }

  Error error_with(const std::string& script, const Budget& budget) {
    auto value = run_with(script, budget);
    EXPECT_FALSE(value) << *value;
    return value ? Error(Errc::internal, "") : value.error();
  }

  std::string error(const std::string& script) {
    return error_with(script, Budget(kPlenty, Deadline::never(), nullptr)).message;
  }

  /// Whether the state of the last script still works.
  bool is_alive() {
    const Budget budget(kPlenty, Deadline::never(), nullptr);
    return state_
               ->call([](lua_State* L) { return luaL_dostring(L, "return 1") == LUA_OK ? 1 : 0; },
                      nullptr, 1, budget)
               .has_value() &&
           lua_tointeger(state_->raw(), -1) == 1;
  }

  tests::ScriptFolder folder_;
  std::unique_ptr<State> state_;  // of the last script
};

TEST_F(Sandbox, HasNoAmbientAuthority) {
  EXPECT_EQ(run(R"(
    local found = {}
    for _, name in ipairs { "os", "io", "package", "debug", "load", "loadstring", "loadfile",
      "dofile",
      "collectgarbage", "print", "warn", "_G", "module", "newproxy" } do
      if _ENV[name] ~= nil then found[#found + 1] = name end
    end
    if string.dump then found[#found + 1] = "string.dump" end
    if math.random or math.randomseed then found[#found + 1] = "math.random" end
    return table.concat(found, " "))"),
            "");
}

TEST_F(Sandbox, NoAddressOfTheHostIsShown) {
  EXPECT_EQ(run("local t, f = {}, function() end "
                "return tostring(t) .. ' ' .. tostring(f) .. ' ' .. tostring(t)"),
            "table: 1 function: 2 table: 1");
  EXPECT_EQ(run("return ('%5.1f|%s|%%s|%d|%s'):format(2, {}, 3, coroutine.create(type))"),
            "  2.0|table: 1|%s|3|thread: 2");
  EXPECT_EQ(run("return string.format('%-10s|', setmetatable({}, {__name = 'point'}))"),
            "point: 1  |");
  EXPECT_EQ(run("return string.format('%s', setmetatable({}, {__tostring = function() return 'me' "
                "end}))"),
            "me");
  EXPECT_NE(error("return string.format('%p', {})").find("invalid conversion '%p'"),
            std::string::npos);
  EXPECT_NE(error("return string.format('%d', {})").find("number expected, got table"),
            std::string::npos);
}

TEST_F(Sandbox, TheMetatableOfStringsIsOutOfReach) {
  EXPECT_EQ(run("return tostring(getmetatable(''))"), "false");
  EXPECT_THAT(error("local x = setmetatable('', {})"), HasSubstr("script.lua:1: bad argument #1"));
  // The library table can be changed, but not what methods of strings do.
  EXPECT_EQ(run("string.upper = function() return 'evil' end return ('a'):upper()"), "A");
}

TEST_F(Sandbox, GlobalsCannotBeAssignedAndModulesCannotSeeTheirEnvironmentsMetatable) {
  EXPECT_EQ(error("counter = 1 return {}"),
            "script.lua:1: global 'counter' assigned in module 'script'");
  EXPECT_EQ(run("return tostring(getmetatable(_ENV))"), "false");
}

TEST_F(Sandbox, AFinalizerIsRefusedBecauseNoLimitReachesIt) {
  EXPECT_EQ(error("local x = setmetatable({}, {__gc = function() while true do end end})"),
            "script.lua:1: setmetatable: __gc is not allowed");
  // One that is added afterwards is not looked at by Lua.
  EXPECT_EQ(run(R"(
    local mt = {}
    for i = 1, 1000 do setmetatable({}, mt) end
    mt.__gc = function() while true do end end
    local waste = {}
    for i = 1, 100000 do waste = { waste = i } end
    return "alive")"),
            "alive");
}

TEST_F(Sandbox, NothingOfTheScriptRunsInsideTheHookThatEndsIt) {
  const Budget budget(1'000'000, Deadline::never(), nullptr);
  for (const char* script :
       {"while true do xpcall(error, function() while true do end end) end",
        "local f = function() local x <close> = setmetatable({}, {__close = function() while true "
        "do end end}) while true do end end while true do pcall(coroutine.wrap(f)) end"}) {
    EXPECT_EQ(error_with(script, budget).message, "script.lua:1: instruction limit reached");
  }
  EXPECT_EQ(run("local function fail(x) error(x, 0) end "
                "return { xpcall(fail, function(m) return m .. '!' end, 'a') }"),
            "[false,\"a!\"]");
}

TEST_F(Sandbox, BytecodeIsRefused) {
  const std::string dumped = std::string("\x1bLua") + "T\0\x19\x93\r\n\x1a\n";
  EXPECT_THAT(error(dumped), HasSubstr("attempt to load a binary chunk"));
}

TEST_F(Sandbox, RequireFindsModulesOfTheLibraryOnceAndNothingElse) {
  folder_.write("parts/counter.lua", "local n = {0} n[1] = n[1] + 1 return n");
  folder_.write("parts/loop.lua", "local x = require('parts.loop') return x");
  folder_.write("parts/nothing.lua", "local x = 1");
  folder_.write("parts/broken.lua", "return {\n  a = = 1\n}");
  EXPECT_EQ(run("require('parts.counter')[1] = 7 return require('parts.counter')"), "[7]");
  EXPECT_THAT(error("local x = require('parts.absent')"),
              HasSubstr("script.lua:1: there is no module 'parts.absent'"));
  EXPECT_EQ(error("local x = require('parts.loop')"),
            "parts/loop.lua:1: module 'parts.loop' requires itself");
  EXPECT_EQ(error("local x = require('parts.nothing')"),
            "script.lua:1: module 'parts.nothing' returns nothing");
  EXPECT_THAT(error("return require('parts.broken')"), HasSubstr("parts/broken.lua:2: unexpected"));
  for (const char* name : {"../script", "/etc/passwd", "..script", "parts..counter", ".script",
                           "script.", "", "parts/counter"}) {
    EXPECT_THAT(error("return require('" + std::string(name) + "')"),
                HasSubstr("is no name of a module"))
        << name;
  }
}

TEST_F(Sandbox, ALinkOutOfTheLibraryIsNotFollowed) {
  const tests::ScriptFolder outside;
  outside.write("secret.lua", "return 'secret'");
  std::filesystem::create_symlink(outside.path() / "secret.lua", folder_.path() / "link.lua");
  EXPECT_THAT(error("return require('link')"), HasSubstr("lies outside the library"));
}

TEST_F(Sandbox, ErrorsNameFileAndLineWhateverTheirForm) {
  EXPECT_EQ(error("\n\nerror('broken')"), "script.lua:3: broken");
  EXPECT_EQ(error("error('broken', 0)"), "script.lua:1: broken");
  EXPECT_EQ(error("error({})"), "script.lua:1: the error is a table");
  EXPECT_EQ(error("error()"), "script.lua:1: the error is a nil");
  EXPECT_EQ(error("error(setmetatable({}, {__tostring = function() return 'mine' end}))"),
            "script.lua:1: mine");
  EXPECT_EQ(error("local t\n return t.x"),
            "script.lua:2: attempt to index a nil value (local 't')");
  EXPECT_THAT(error("return ('x'):rep(1, 2, {}) .. table.concat({{}})"),
              StartsWith("script.lua:1: invalid value"));
  EXPECT_EQ(
      error("local x = ('x'):gsub('x', true)"),
      "script.lua:1: bad argument #3 to 'gsub' (string/function/table expected, got boolean)");
  EXPECT_EQ(error("return ('x'):find('[')"), "script.lua:1: malformed pattern (missing ']')");
  EXPECT_THAT(error("local function f() return f() + 1 end return f()"),
              AnyOf(HasSubstr("stack overflow"), HasSubstr("memory limit")));
}

TEST_F(Sandbox, EndlessLoopsEndAndNoNestOfPcallsOrCoroutinesSwallowsTheEnd) {
  const Budget small(1'000'000, Deadline::never(), nullptr);
  for (const char* script :
       {"while true do end", "while true do pcall(function() while true do end end) end",
        "while true do xpcall(function() while true do end end, function(m) return m end) end",
        "while true do coroutine.wrap(function() while true do pcall(coroutine.yield) end end)() "
        "end",
        "local t = setmetatable({}, {__index = function(t, k) return t[k + 1] end})\n"
        "while true do pcall(function() return t[1] end) end",
        "while true do local c <close> = setmetatable({}, {__close = function() while true do end "
        "end}) end",
        "table.sort({3, 2, 1, 5, 4}, function(a, b) while true do end end)",
        "('x'):gsub('x', function() while true do end end)"}) {
    const Error error = error_with(script, small);
    EXPECT_EQ(error.code, Errc::exhausted) << script;
    EXPECT_THAT(error.message, HasSubstr("script.lua:")) << script;
    EXPECT_THAT(error.message, HasSubstr("instruction limit reached")) << script;
    EXPECT_TRUE(is_alive()) << "after " << script;
  }
}

TEST_F(Sandbox, ADeadlineEndsALoop) {
  const Deadline deadline = Deadline::after(system_clock(), std::chrono::milliseconds(30));
  const Error error = error_with("while true do pcall(string.rep, 'x', 1000) end",
                                 Budget(1LL << 60, deadline, nullptr));
  EXPECT_EQ(error.code, Errc::deadline);
}

TEST_F(Sandbox, AStopFlagEndsALoopFromAnotherThread) {
  std::atomic<bool> stop = false;
  std::atomic<bool> is_running = false;
  std::jthread other([&] {
    is_running.wait(false);
    stop = true;
  });
  is_running = true;
  is_running.notify_one();
  const Error error = error_with("while true do end", Budget(1LL << 60, Deadline::never(), &stop));
  EXPECT_EQ(error.code, Errc::cancelled);
}

TEST_F(Sandbox, ACallThatIsAlreadyStoppedDoesNotBegin) {
  const std::atomic<bool> stop = true;
  const Error cancelled = error_with("return {}", Budget(kPlenty, Deadline::never(), &stop));
  EXPECT_EQ(cancelled.code, Errc::cancelled);
  const Deadline passed = Deadline::after(system_clock(), std::chrono::milliseconds(-1));
  EXPECT_EQ(error_with("return {}", Budget(kPlenty, passed, nullptr)).code, Errc::deadline);
}

TEST_F(Sandbox, MemoryIsCappedAndTheStateSurvives) {
  for (const char* script :
       {"local t = {} while true do t[#t + 1] = {} end",
        "local s = 'x' while true do s = s .. s end",
        "return table.concat({('x'):rep(9000000), ('x'):rep(9000000)})",
        "local t = {} for i = 1, 1e9 do t[i] = coroutine.create(function() end) end"}) {
    const Error error = error_with(script, Budget(1LL << 60, Deadline::never(), nullptr));
    EXPECT_EQ(error.code, Errc::exhausted) << script;
    EXPECT_EQ(error.message, "memory limit of 16 MiB reached") << script;
    EXPECT_TRUE(is_alive()) << "after " << script;
  }
  EXPECT_EQ(run("local ok, m = pcall(function() local s = 'x' while true do s = s .. s end end)\n"
                "return m"),
            "not enough memory");
}

TEST_F(Sandbox, AStateNeedsRoomForItsLibraries) {
  auto tiny = State::create(4096, system_clock());
  ASSERT_FALSE(tiny);
  EXPECT_EQ(tiny.error().code, Errc::exhausted);
}

TEST_F(Sandbox, BombsInTheLibrariesEndInClearErrors) {
  EXPECT_EQ(error("return ('x'):rep(1e9)"),
            "script.lua:1: string.rep: the result is over the limit of 16 MiB");
  EXPECT_THAT(error("return ('x'):rep(10, ('y'):rep(4000000))"), HasSubstr("over the limit"));
  EXPECT_THAT(error("return (('a'):rep(1000)):find('a*a*a*a*b')"), HasSubstr("too many steps"));
  EXPECT_THAT(error("return (('a'):rep(1000)):gsub('a*a*a*a*b', '')"), HasSubstr("too many steps"));
  EXPECT_THAT(error("for _ in (('a'):rep(1000)):gmatch('.-.-.-.-b') do end"),
              HasSubstr("too many steps"));
  EXPECT_THAT(error("return table.move({}, 1, 1e9, 2)"), HasSubstr("over the limit"));
  EXPECT_THAT(error("return table.move({}, math.mininteger, math.maxinteger, 2)"),
              AnyOf(HasSubstr("over the limit"), HasSubstr("too many elements")));
  EXPECT_THAT(
      error("table.insert(setmetatable({}, {__len = function() return 1 << 60 end}), 1, 1)"),
      HasSubstr("does not take tables with __len"));
  EXPECT_THAT(error("table.unpack({}, 1, 1e7)"), HasSubstr("too many results"));
}

TEST_F(Sandbox, WorkThatTheHookDoesNotSeeIsCharged) {
  // A thousand searches of about a million steps each: few instructions, much work.
  const char* script = R"(
    local s = ("a"):rep(200)
    for i = 1, 1000 do s:find("a-a-b") end
    return {})";
  EXPECT_EQ(error_with(script, Budget(5'000'000, Deadline::never(), nullptr)).code,
            Errc::exhausted);
}

/// Time that passes whenever somebody looks.
class TickingClock final : public Clock {
 public:
  Instant now() const override { return now_ += std::chrono::milliseconds(1); }
  std::int64_t unix_ms() const override { return 0; }

 private:
  mutable Instant now_;
};

struct LoopJob {
  const char* script;
  lua_State* coroutine;
};

int make_loop(lua_State* L) {
  auto* job = static_cast<LoopJob*>(lua_touserdata(L, 1));
  job->coroutine = lua_newthread(L);
  lua_setfield(L, LUA_REGISTRYINDEX, "loop");
  return luaL_loadstring(job->coroutine, job->script) == LUA_OK ? 0 : luaL_error(L, "no Lua");
}

/// Runs one slice that is longer than the budget.
Result<State::Progress> run_slice(const char* script, std::int64_t instructions) {
  const TickingClock clock;
  PONDER_TRY(auto state, State::create(1 << 20, clock));
  LoopJob job{script, nullptr};
  const Budget budget(instructions, Deadline::never(), nullptr);
  PONDER_CHECK(state->call(make_loop, &job, 0, budget));
  state->begin(budget);
  return state->resume(job.coroutine, 0, 2 * instructions);
}

TEST(Slice, EndsAfterAWhileHoweverFewItsInstructions) {
  const auto progress = run_slice("while true do end", 1'000'000);
  ASSERT_TRUE(progress) << progress.error().message;
  EXPECT_EQ(*progress, State::Progress::paused);
}

TEST(Slice, WorkThatCannotBePausedEndsAWhileAfterIt) {
  const auto progress =
      run_slice("table.sort({2, 1}, function() while true do end end)", 1'000'000);
  ASSERT_FALSE(progress);
  EXPECT_THAT(progress.error().message, HasSubstr("too much work where the tool cannot be paused"));
}

TEST_F(Sandbox, LongStringsAreChargedByTheirBytes) {
  const Budget budget(1'000'000, Deadline::never(), nullptr);
  for (const char* work : {"s:upper()", "s .. i", "s:reverse()", "table.concat({ s, i })",
                           "('%s%d'):format(s, i)", "s:sub(i)", "s:gsub('b', 'c')"}) {
    const std::string script =
        "local s = ('a'):rep(1e6) for i = 1, 200 do local _ = " + std::string(work) + " end";
    EXPECT_THAT(error_with(script, budget).message, HasSubstr("instruction limit reached")) << work;
  }
}

TEST_F(Sandbox, StringFunctionsBehaveAsInLua) {
  EXPECT_EQ(run(R"lua(
    local out = {}
    local function add(...)
      local parts = table.pack(...)
      for i = 1, parts.n do parts[i] = tostring(parts[i]) end
      out[#out + 1] = table.concat(parts, ",")
    end
    add(("hello world"):find("o w"))
    add(("hello"):find("l", 1, true), ("hello"):find("", 10), ("hello"):find("", 6))
    add(("a.b"):find(".", 2, true))
    add(("key = value"):match("^(%w+)%s*=%s*(%w+)$"))
    add(("hello"):match("()ll()"))
    add(("hello"):match(".", -2))
    for k, v in ("a=1, b=2"):gmatch("(%w+)=(%w+)") do add(k, v) end
    for w in ("one two"):gmatch("%a+") do add(w) end
    for p in ("abc"):gmatch("()") do add(p) end
    for w in ("abab"):gmatch("b", 3) do add(w) end
    add(("hello world"):gsub("o", "0"))
    add(("hello"):gsub("", "-"))
    add(("abc"):gsub("%w", "%0%0"))
    add(("hello world"):gsub("(%w+) (%w+)", "%2 %1"))
    add(("abc"):gsub("^a", "x"))
    add(("aaa"):gsub("a", "b", 2))
    add(("$name is $age"):gsub("%$(%w+)", { name = "Li", age = 3 }))
    add(("abc"):gsub("%w", function(c) if c == "b" then return false end return c:upper() end))
    add(("x"):rep(3, ","), ("x"):rep(0), ("x"):rep(-1))
    add(("50%"):gsub("%%", "%% percent"))
    return table.concat(out, "\n"))lua"),
            "5,7\n3,nil,6,5\n2,2\nkey,value\n3,5\nl\na,1\nb,2\none\ntwo\n1\n2\n3\n4\nb\n"
            "hell0 w0rld,2\n-h-e-l-l-o-,6\naabbcc,3\nworld hello,1\nxbc,1\nbba,2\n"
            "Li is 3,2\nAbC,3\nx,x,x,,\n50% percent,1");
  EXPECT_THAT(error("return ('x'):gsub('x', '%9')"), HasSubstr("invalid capture index %9"));
  EXPECT_THAT(error("return ('x'):gsub('x', '%')"), HasSubstr("invalid use of '%'"));
  EXPECT_THAT(error("return ('x'):gsub('x', function() return {} end)"),
              HasSubstr("invalid replacement value (a table)"));
}

TEST_F(Sandbox, TableFunctionsBehaveAsInLua) {
  EXPECT_EQ(run(R"(
    local t = { 3, 1, 2 }
    table.sort(t)
    table.insert(t, 4)
    table.insert(t, 1, 0)
    table.remove(t)
    local moved = table.move(t, 1, 2, 3, { 9, 9 })
    return { t, moved, { table.unpack(t, 2, 3) }, table.pack(1, nil, 3).n,
      table.concat(t, "-") })"),
            "[[0,1,2,3],[9,9,0,1],[1,2],3,\"0-1-2-3\"]");
}

TEST_F(Sandbox, ValuesBecomeJsonWithTheirTypes) {
  EXPECT_EQ(
      run("return { i = 3, f = 3.0, s = 'x', t = true, list = { 1, { a = {} } }, big = 1 << 62 }"),
      R"({"big":4611686018427387904,"f":3.0,"i":3,"list":[1,{"a":{}}],"s":"x","t":true})");
  EXPECT_THAT(error("return { f = function() end }"), HasSubstr("a function has no JSON form"));
  EXPECT_THAT(error("return { 1, 2, x = 3 }"), HasSubstr("both list items and other keys"));
  EXPECT_THAT(error("return { [1.5] = 3 }"), HasSubstr("a key that is no string"));
  EXPECT_THAT(error("return { x = 1 / 0 }"), HasSubstr("not finite"));
  EXPECT_THAT(error("local t = {} t.t = t return t"), HasSubstr("nested deeper than 128"));
  EXPECT_THAT(error("local t = {} for i = 1, 60 do t = { t, t } end return t"),
              HasSubstr("too large for JSON"));
}

}  // namespace
}  // namespace ponder::tools::lua
