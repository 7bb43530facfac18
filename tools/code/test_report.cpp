#include "tools/code/test_report.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <optional>

#include "tools/files/text_lines.h"

namespace ponder::tools {
namespace {

constexpr std::size_t kTestsMax = 100'000;
using State = TestOutcome::State;

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

/// What follows `prefix`; nullopt when the text does not begin with it.
std::optional<std::string_view> after(std::string_view text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return std::nullopt;
  return text.substr(prefix.size());
}

std::optional<TestOutcome> outcome(std::string_view name, State state) {
  name = trimmed(name);
  if (name.empty()) return std::nullopt;
  TestOutcome test;
  test.name = name;
  test.state = state;
  return test;
}

/// Without a time at its end, as in "name (12.3ms)" or "name (0.00s)".
std::string_view without_time(std::string_view name) {
  name = trimmed(name);
  const auto open = name.rfind(" (");
  if (open == std::string_view::npos || !name.ends_with("s)")) return name;
  const char first = name[open + 2];
  return first >= '0' && first <= '9' ? name.substr(0, open) : name;
}

// Each reader below gives the test that a line of its runner's output reports, if it reports one.

/// " 3/91 Test  #3: base/clock ......   Passed    0.01 sec", or "***Failed", "***Timeout", ..
std::optional<TestOutcome> read_ctest(std::string_view line) {
  const auto mark = line.find(" Test ");
  const auto slash = line.find('/');
  if (mark == std::string_view::npos || slash >= mark) return std::nullopt;
  const auto hash = line.find('#', mark);
  const auto colon = line.find(": ", mark);
  if (hash == std::string_view::npos || colon == std::string_view::npos || hash > colon) {
    return std::nullopt;
  }
  const std::string_view rest = line.substr(colon + 2);
  const auto dots = rest.find(" ..");
  if (dots == std::string_view::npos) return std::nullopt;
  const std::string_view verdict = rest.substr(dots);
  State state = State::failed;
  if (verdict.find("   Passed") != std::string_view::npos) state = State::passed;
  if (verdict.find("***Skipped") != std::string_view::npos) state = State::skipped;
  if (verdict.find("***Not Run (Disabled)") != std::string_view::npos) state = State::skipped;
  return outcome(rest.substr(0, dots), state);
}

/// "tests/a_test.py::test_x PASSED [ 50%]" (with -v), "FAILED tests/a_test.py::test_x - Error"
/// (in the summary), "ERROR tests/a_test.py".
std::optional<TestOutcome> read_pytest(std::string_view line) {
  for (const std::string_view mark : {"FAILED ", "ERROR "}) {
    const auto rest = after(line, mark);
    if (!rest || rest->find(".py") == std::string_view::npos) continue;
    return outcome(rest->substr(0, rest->find(" - ")), State::failed);
  }
  constexpr std::array<std::pair<std::string_view, State>, 6> kVerdicts = {{
      {" PASSED", State::passed},
      {" FAILED", State::failed},
      {" ERROR", State::failed},
      {" SKIPPED", State::skipped},
      {" XFAIL", State::skipped},
      {" XPASS", State::passed},
  }};
  const auto separator = line.find(".py::");
  if (separator == std::string_view::npos) return std::nullopt;
  for (const auto& [mark, state] : kVerdicts) {
    const auto at = line.find(mark, separator);
    if (at != std::string_view::npos) return outcome(line.substr(0, at), state);
  }
  return std::nullopt;
}

/// "test_x (tests.test_a.ATest.test_x) ... ok", or "FAIL", "ERROR", "skipped 'why'", "expected
/// failure"
std::optional<TestOutcome> read_unittest(std::string_view line) {
  const auto dots = line.rfind(") ... ");
  const auto open = line.find(" (");
  if (dots == std::string_view::npos || open >= dots) return std::nullopt;
  const std::string_view name = line.substr(0, dots + 1);
  const std::string_view verdict = trimmed(line.substr(dots + 6));
  if (verdict == "ok") return outcome(name, State::passed);
  if (verdict == "FAIL" || verdict == "ERROR" || verdict == "unexpected success") {
    return outcome(name, State::failed);
  }
  if (verdict.starts_with("skipped ") || verdict == "expected failure") {
    return outcome(name, State::skipped);
  }
  return std::nullopt;
}

/// "--- FAIL: TestX/case (0.00s)"
std::optional<TestOutcome> read_go(std::string_view line) {
  line = trimmed(line);
  if (const auto name = after(line, "--- PASS: "))
    return outcome(without_time(*name), State::passed);
  if (const auto name = after(line, "--- FAIL: "))
    return outcome(without_time(*name), State::failed);
  if (const auto name = after(line, "--- SKIP: "))
    return outcome(without_time(*name), State::skipped);
  return std::nullopt;
}

/// "test module::name ... ok"
std::optional<TestOutcome> read_cargo(std::string_view line) {
  const auto rest = after(line, "test ");
  if (!rest) return std::nullopt;
  const auto dots = rest->rfind(" ... ");
  if (dots == std::string_view::npos) return std::nullopt;
  const std::string_view name = rest->substr(0, dots);
  const std::string_view verdict = trimmed(rest->substr(dots + 5));
  if (verdict == "ok") return outcome(name, State::passed);
  if (verdict.starts_with("FAILED")) return outcome(name, State::failed);
  if (verdict.starts_with("ignored")) return outcome(name, State::skipped);
  return std::nullopt;
}

/// TAP: "not ok 3 - name # SKIP why"; number, dash and name may be missing. A test without a name
/// is called by its number.
std::optional<TestOutcome> read_tap(std::string_view line) {
  line = trimmed(line);
  State state = State::passed;
  auto rest = after(line, "ok ");
  if (!rest) {
    rest = after(line, "not ok ");
    state = State::failed;
  }
  if (!rest) return std::nullopt;
  std::string_view name = *rest;
  const auto directive = name.starts_with("# ") ? 0 : name.find(" # ");
  if (directive != std::string_view::npos) {
    state = State::skipped;  // skipped, or expected to fail: neither counts
    name = name.substr(0, directive);
  }
  const std::string_view number = name.substr(0, name.find_first_not_of("0123456789"));
  name = trimmed(name.substr(number.size()));
  const bool is_number =
      !number.empty() && (rest->size() == number.size() || (*rest)[number.size()] == ' ');
  if (const auto text = after(name, "- ")) {
    name = *text;
  } else if (!is_number) {
    return std::nullopt;  // any sentence may begin with "ok"
  }
  return outcome(name.empty() ? number : name, state);
}

/// node --test on a terminal: "✔ name (1.2ms)", "✖ name (1.2ms)", "﹣ name (0.1ms) # SKIP"
std::optional<TestOutcome> read_node_spec(std::string_view line) {
  line = trimmed(line);
  const auto comment = line.find(" # ");
  const std::string_view name = line.substr(0, comment);
  if (const auto rest = after(name, "✔ ")) return outcome(without_time(*rest), State::passed);
  if (const auto rest = after(name, "✖ ")) {
    if (*rest == "failing tests:") return std::nullopt;
    return outcome(without_time(*rest), State::failed);
  }
  if (const auto rest = after(name, "﹣ ")) return outcome(without_time(*rest), State::skipped);
  return std::nullopt;
}

/// "[       OK ] Suite.Name (0 ms)"; the summary's "[  FAILED  ] Suite.Name" repeats.
std::optional<TestOutcome> read_googletest(std::string_view line) {
  if (const auto name = after(line, "[       OK ] "))
    return outcome(without_time(*name), State::passed);
  const auto skipped = after(line, "[  SKIPPED ] ");
  const auto failed = after(line, "[  FAILED  ] ");
  const auto name = failed ? failed : skipped;
  if (!name || name->find('.') == std::string_view::npos) return std::nullopt;
  const std::string_view plain = name->substr(0, name->find(", where "));
  return outcome(without_time(plain), failed ? State::failed : State::skipped);
}

struct Runner {
  std::string_view name;
  std::optional<TestOutcome> (*read)(std::string_view line);
};
constexpr std::array kRunners = {
    Runner{"ctest", read_ctest},       Runner{"pytest", read_pytest},
    Runner{"unittest", read_unittest}, Runner{"go", read_go},
    Runner{"cargo", read_cargo},       Runner{"tap", read_tap},
    Runner{"node", read_node_spec},    Runner{"googletest", read_googletest},
};

TestReport read_as(const Runner& runner, const std::vector<std::string_view>& lines) {
  TestReport report;
  report.runner = runner.name;
  std::map<std::string, std::size_t, std::less<>> places;
  for (const std::string_view line : lines) {
    auto test = runner.read(line);
    if (!test || report.tests.size() >= kTestsMax) continue;
    const auto [place, is_new] = places.try_emplace(test->name, report.tests.size());
    if (is_new) {
      report.tests.push_back(std::move(*test));
    } else {
      TestOutcome& known = report.tests[place->second];
      known.is_contradicted = known.is_contradicted || known.state != test->state;
      known.state = test->state;
    }
  }
  return report;
}

}  // namespace

std::size_t TestReport::count(TestOutcome::State state) const {
  return static_cast<std::size_t>(
      std::count_if(tests.begin(), tests.end(),
                    [state](const TestOutcome& test) { return test.state == state; }));
}

TestReport read_test_output(std::string_view output) {
  const auto lines = split_lines(output);
  TestReport best;
  for (const Runner& runner : kRunners) {
    TestReport report = read_as(runner, lines);
    if (report.tests.size() > best.tests.size()) best = std::move(report);
  }
  return best;
}

}  // namespace ponder::tools
