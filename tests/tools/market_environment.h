#pragma once

#include <gtest/gtest.h>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/thread_pool.hpp>
#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/tools/call_tool.h"
#include "tests/tools/script_folder.h"
#include "tools/environment.h"

/// A world of counted fruit: the smallest environment that has everything, with a tool for each
/// thing that a tool may do or must not.
namespace ponder::tools::testing {

inline constexpr const char* kFruit = R"lua(
local fruit = require("parts.fruit")

local function tool(name, parameters, run, capabilities, values)
  return { name = name, description = name .. " does it.", parameters = parameters, effect = "pure",
    capabilities = capabilities or {}, run = run, values = values }
end

local any, blank = '{"type": "object"}', function() return "" end
local answer = { noun = "plan", file = "itinerary.json", schema = '{"type": "array"}' }
return {
  name = "market",
  instructions = "Count fruit.", answer = answer,
  tools = {
    tool("count", '{"properties": {"name": {"type": "string"}}, "required": ["name"]}',
      function(args, ctx)
        local row = ctx.sql("SELECT amount FROM fruit WHERE name = ?", args.name)[1]
        if not row then return nil, "no fruit is called " .. args.name end
        return tostring(row.amount)
      end, { "sql" }),
    tool("query", any, function(args, ctx)
      local rows = ctx.sql(args.sql, table.unpack(args.values or {}))
      return { rows = rows, count = #rows }
    end, { "sql" }),
    tool("submit", any, function(args, ctx)
      ctx.state.submitted = { { amount = args.amount } }
      return "submitted for " .. (ctx.task and ctx.task.id or "nobody")
    end),
    tool("spy", any, function(args, ctx)
      local names = {}
      for name in pairs(ctx) do names[#names + 1] = name end
      table.sort(names)
      return table.concat(names, " ")
    end),
    tool("give", any, function(args) return args.value end),
    tool("nothing", any, function() end),
    tool("refuse", any, function() return nil, "not today" end),
    tool("crash", any, function() local t; return t.x end),
    tool("spin", any, function() while true do end end),
    tool("flood", any, function() return ("x"):rep(100000) end),
    tool("hoard", any, function() local t = {} while true do t[#t + 1] = {} end end),
    tool("remember", any, function(args, ctx)
      local before = ctx.state.last
      ctx.state.last = args.value
      return tostring(before)
    end),
    tool("key", any, function(args, ctx) return ctx.idempotency_key end),
    tool("fruits", any, blank, { "sql" }, function(ctx)
      local names = {}
      for i, row in ipairs(ctx.sql("SELECT name FROM fruit ORDER BY name")) do
        names[i] = row.name
      end
      return { name = names }
    end),
    tool("no_values", any, blank, { "sql" }, function() return { name = {} } end),
    tool("number", any, blank, { "sql" }, function() return 7 end),
    tool("numbers", any, blank, { "sql" }, function() return { name = { 1, 2 } } end),
    tool("nested", any, blank, { "sql" }, function() return { name = { { "x" } } } end),
    tool("raises", any, blank, { "sql" }, function() error("no idea") end),
    tool("spins", any, blank, { "sql" }, function() while true do end end),
    tool("hoards", any, blank, { "sql" }, function()
      local t = {}
      while true do t[#t + 1] = {} end
    end),
    tool("thousands", any, blank, { "sql" }, function()
      local names = {}
      for i = 1, 20000 do names[i] = "name " .. i end
      return { name = names }
    end),
  },
  build = fruit.build,
  task = function(seed, db, kind)
    return { id = "market-" .. seed, kind = kind or "count", text = "How many apples?",
      want = db.sql("SELECT amount FROM fruit WHERE name = 'apple'")[1].amount
        + (kind == "impossible" and 1000 or 0) }
  end,
  parse_request = function(text)
    if text:find("nonsense") then return nil, "these words ask for nothing" end
    return { id = "asked", kind = "asked", text = text, want = 1,
      not_understood = text:find("perhaps") and { "the word perhaps", "the rest" } or {} }
  end,
  verify = function(task, plan)
    local amount = plan[1] and plan[1].amount
    local violations = {}
    if amount ~= task.want then
      violations[1] = { message = "amount " .. tostring(amount) .. ", must be " .. task.want }
    end
    return { ok = #violations == 0, violations = violations, proof = {} }
  end,
  solve = function(task)
    if task.want > 500 then return nil, { message = "there are never more than 500" } end
    return { { amount = task.want } }
  end,
  artefacts = function(task, plan, db, verification)
    return { ["itinerary.json"] = "[{\"amount\": " .. plan[1].amount .. "}]\n",
      ["proof.json"] = '{"world": {"name": "market", "seed": 7, "size": "S"}, "task": {"id": "'
        .. task.id
        .. '", "want": ' .. task.want .. "}}\n",
      ["note.txt"] = "ok: " .. tostring(verification.ok) .. "\n" }
  end,
}
)lua";

inline constexpr const char* kFruitPart = R"lua(
local fruit = {}
function fruit.build(db, seed, size)
  db.exec("CREATE TABLE fruit(name TEXT PRIMARY KEY, amount INTEGER, weight REAL, note TEXT)")
  db.exec("INSERT INTO fruit VALUES ('apple', ?, 1.5, NULL), ('pear', 2, 2.0, ?)", seed * 3, size)
end
return fruit
)lua";

class MarketEnvironment : public ::testing::Test {
 protected:
  MarketEnvironment() {
    folder_.write("market.lua", kFruit);
    folder_.write("parts/fruit.lua", kFruitPart);
  }

  WorldOptions options() const {
    WorldOptions options;
    options.library = folder_.path();
    options.name = "market";
    options.seed = 7;
    return options;
  }

  std::unique_ptr<Environment> open() {
    auto environment = Environment::open(options(), pool_.get_executor());
    EXPECT_TRUE(environment) << environment.error().message;
    EXPECT_TRUE((*environment)->add_tools(registry_));
    return std::move(*environment);
  }

  /// Why an environment with this script does not open.
  std::string refusal(const std::string& script) {
    folder_.write("market.lua", script);
    auto environment = Environment::open(options(), pool_.get_executor());
    EXPECT_FALSE(environment);
    return environment ? "" : environment.error().message;
  }

  static ToolContext within(std::chrono::milliseconds time, std::size_t bytes = 10'000) {
    return ToolContext(system_clock(), Deadline::after(system_clock(), time), bytes);
  }

  boost::asio::awaitable<Result<ToolOutput>> invoke(std::string name, std::string arguments,
                                                    ToolContext context) {
    context::ToolCall call;
    call.name = std::move(name);
    call.arguments = std::move(arguments);
    std::vector<std::string> grants = Environment::grants();
    auto output = co_await tests::call_tool(registry_, std::move(call), std::move(grants), context);
    co_return output;
  }

  Result<ToolOutput> run(const std::string& name, const std::string& arguments = "{}",
                         ToolContext context = within(std::chrono::seconds(30))) {
    return tests::run_sync(invoke(name, arguments, context));
  }

  /// What a tool says its parameters can be.
  boost::asio::awaitable<Result<std::vector<ParameterValues>>> values_within(
      std::string name, std::chrono::milliseconds time) {
    auto said = co_await registry_.find(name)->values(within(time));
    co_return said;
  }
  Result<std::vector<ParameterValues>> values(
      const std::string& name, std::chrono::milliseconds time = std::chrono::seconds(30)) {
    return tests::run_sync(values_within(name, time));
  }

  /// What the model reads.
  std::string content(const std::string& name, const std::string& arguments = "{}") {
    auto output = run(name, arguments);
    EXPECT_TRUE(output) << output.error().message;
    return output ? output->content : "";
  }

  tests::ScriptFolder folder_;
  boost::asio::thread_pool pool_{2};
  Registry registry_;
};

}  // namespace ponder::tools::testing
