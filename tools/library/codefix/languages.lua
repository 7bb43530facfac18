-- How a task looks in each language: where its files lie, how tests are written and run.
--
-- Cases are data, {function, {arguments}, wanted}, the same for all languages. Values are numbers,
-- strings, booleans, lists, `null`, and maps made by `map`.

local values = require("codefix.values")

local function numbered(program, cases, names, prefix, line)
  local out, counts = {}, {}
  for _, case in ipairs(cases) do
    local name = names[case[1]]
    counts[name] = (counts[name] or 0) + 1
    out[#out + 1] = line(string.format("%s%s %d", prefix or "", name, counts[name]), name, case)
  end
  return table.concat(out)
end

local function call(literals, name, arguments)
  local parts = {}
  for i = 1, #arguments do
    parts[i] = values.literal(literals, arguments[i])
  end
  return name .. "(" .. table.concat(parts, ", ") .. ")"
end

local RUN_EACH = [[
# Runs every file of tests in turn; fails when one does.
ulimit -S -t 10
status=0
for t in %s; do
  %s || status=1
done
exit $status
]]

local python = { command = "python3 -m unittest discover -v tests" }

function python.source_path(name) return "src/" .. name .. ".py" end
function python.test_path(name, prefix) return "tests/test_" .. prefix .. name .. ".py" end
function python.support_files() return {} end

function python.tests(program, cases, names, prefix)
  local head = [[
import signal
import sys
import unittest

sys.path.insert(0, "src")
import %s as program


def too_long(*_):
    raise TimeoutError("no result after two seconds")


class %sTest(unittest.TestCase):
    def setUp(self):
        signal.signal(signal.SIGALRM, too_long)
        signal.alarm(2)

    def tearDown(self):
        signal.alarm(0)
]]
  local class = (prefix or ""):gsub("%W", ""):gsub("^%l", string.upper)
    .. program.name:gsub("^%l", string.upper)
  return head:format(program.name, class)
    .. numbered(program, cases, names, "", function(title, name, case)
      return string.format("\n    def test_%s(self):\n        self.assertEqual(%s, %s)\n",
        title:gsub("%W", "_"), call("python", "program." .. name, case[2]),
        values.literal("python", case[3]))
    end)
end

local lua = { command = "sh tests/run.sh" }

function lua.source_path(name) return "src/" .. name .. ".lua" end
function lua.test_path(name, prefix) return "tests/" .. prefix .. name .. "_test.lua" end

local LUA_CHECK = [[
-- Compares and reports, a line of TAP for each test.
local check = { count = 0, failures = 0 }

local function equal(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then return a == b end
  for key, value in pairs(a) do
    if not equal(value, b[key]) then return false end
  end
  for key in pairs(b) do
    if a[key] == nil then return false end
  end
  return true
end

local function show(value)
  if type(value) ~= "table" then return tostring(value) end
  local parts = {}
  for key, item in pairs(value) do
    parts[#parts + 1] = (math.type(key) == "integer" and "" or tostring(key) .. "=") .. show(item)
  end
  table.sort(parts)
  return "{" .. table.concat(parts, ", ") .. "}"
end

function check.expect(name, got, wanted)
  check.count = check.count + 1
  local good = equal(got, wanted)
  print((good and "ok " or "not ok ") .. check.count .. " - " .. name)
  if good then return end
  check.failures = check.failures + 1
  print("# got " .. show(got) .. ", wanted " .. show(wanted))
end

local function stop() error("no result after 10 million steps") end

function check.test(name, call, wanted)
  debug.sethook(stop, "", 10000000)
  local good, got = pcall(call)
  debug.sethook()
  check.expect(name, got, wanted)
end

function check.finish() os.exit(check.failures == 0) end

return check
]]

function lua.support_files()
  return {
    ["tests/run.sh"] = RUN_EACH:format("tests/*_test.lua", 'lua5.4 "$t"'),
    ["tests/check.lua"] = LUA_CHECK,
  }
end

function lua.tests(program, cases, names, prefix)
  local head = [[
package.path = "src/?.lua;tests/?.lua;" .. package.path
local check = require("check")
local expect, test, finish = check.expect, check.test, check.finish
local %s = require("%s")

]]
  return head:format(program.name, program.name)
    .. numbered(program, cases, names, prefix, function(title, name, case)
      return string.format('test("%s", function() return %s end, %s)\n', title,
        call("lua", program.name .. "." .. name, case[2]), values.literal("lua", case[3]))
    end)
    .. "\nfinish()\n"
end

local cpp = { command = "sh tests/run.sh" }

function cpp.source_path(name) return "src/" .. name .. ".h" end
function cpp.test_path(name, prefix) return "tests/" .. prefix .. name .. "_test.cpp" end

local CPP_CHECK = [[
// Compares and reports, a line of TAP for each test.
#pragma once

#include <csignal>
#include <cstdio>
#include <iostream>
#include <map>
#include <optional>
#include <string>
#include <unistd.h>
#include <utility>
#include <vector>

inline int count = 0;
inline int failures = 0;
inline const char* current = "";

inline std::ostream& operator<<(std::ostream& out, std::nullopt_t) { return out << "nothing"; }
template <class T>
std::ostream& operator<<(std::ostream& out, const std::optional<T>& value) {
  return value ? out << *value : out << std::nullopt;
}
template <class T>
std::ostream& operator<<(std::ostream& out, const std::vector<T>& values) {
  out << "{";
  for (const auto& value : values) out << " " << value;
  return out << " }";
}
template <class K, class V>
std::ostream& operator<<(std::ostream& out, const std::map<K, V>& values) {
  out << "{";
  for (const auto& [key, value] : values) out << " " << key << "=" << value;
  return out << " }";
}

template <class T, class U>
void expect(const char* name, const T& got, const U& wanted) {
  const bool is_good = got == wanted;
  std::cout << (is_good ? "ok " : "not ok ") << ++count << " - " << name << std::endl;
  if (is_good) return;
  ++failures;
  std::cout << std::boolalpha << "# got " << got << ", wanted " << wanted << std::endl;
}

template <class Call>
void test(const char* name, Call call, const decltype(std::declval<Call>()())& wanted) {
  current = name;
  expect(name, call(), wanted);
}

// Of a test that crashes or does not end, at least its name is reported.
inline void on_signal(int) {
  std::printf("not ok %d - %s\n", count + 1, current);
  std::fflush(stdout);
  _exit(1);
}
inline const bool has_handlers = [] {
  for (const int signal : {SIGABRT, SIGSEGV, SIGFPE, SIGXCPU, SIGALRM}) {
    std::signal(signal, on_signal);
  }
  alarm(5);
  return true;
}();

inline int finish() { return failures == 0 ? 0 : 1; }
]]

function cpp.support_files()
  local build = 'c++ -std=c++17 -D_GLIBCXX_ASSERTIONS -o /tmp/tests "$t" && /tmp/tests'
  return {
    ["tests/run.sh"] = RUN_EACH:format("tests/*_test.cpp", "{ " .. build .. "; }"),
    ["tests/check.h"] = CPP_CHECK,
  }
end

function cpp.tests(program, cases, names, prefix)
  local head = [[
#include "../src/%s.h"

#include "check.h"

using namespace std::string_literals;

int main() {
]]
  return head:format(program.name)
    .. numbered(program, cases, names, prefix, function(title, name, case)
      return string.format('  test("%s", [] { return %s; }, %s);\n', title,
        call("cpp", name, case[2]), values.literal("cpp", case[3]))
    end)
    .. "\n  return finish();\n}\n"
end

return { python = python, lua = lua, cpp = cpp }
