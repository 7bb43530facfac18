#include "tools/fix/fix_report.h"

#include <fmt/format.h>

#include <algorithm>

namespace ponder::tools {
namespace {

constexpr std::size_t kOutputShownMax = 64 << 10;

/// Text as XML 1.0 can hold it: control characters and bytes that are no UTF-8 are replaced.
std::string escaped(std::string_view text) {
  // nlohmann replaces what is no UTF-8; the quotes that it puts around come off again.
  const Json whole = parse_json(dump_json(Json(std::string(text)))).value_or(Json(""));
  std::string out;
  for (const char c : whole.get<std::string>()) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\n':
      case '\t':
        out += c;
        break;
      default:
        out += static_cast<unsigned char>(c) < 0x20 ? '?' : c;
    }
  }
  return out;
}

std::string list_of(const char* title, const std::vector<std::string>& items) {
  if (items.empty()) return {};
  std::string out = fmt::format("\n## {}\n\n", title);
  for (const std::string& item : items) out += fmt::format("- `{}`\n", item);
  return out;
}

}  // namespace

Json fix_report_json(const FixReport& report) {
  return {{"fixed", report.is_fixed},
          {"verdict", report.verdict},
          {"reproduced_by_agent", report.was_reproduced_by_agent},
          {"fail_to_pass", report.delta.fixed},
          {"pass_to_fail", report.delta.broken},
          {"still_failing", report.delta.failing},
          {"flaky", report.delta.flaky},
          {"probed_files", report.probed},
          {"restored_files", report.restored},
          {"left_out", report.left_out},
          {"hidden_tests", report.hidden_count},
          {"hidden_failed", report.hidden_failed},
          {"changes_made", report.changes_made},
          {"changes_kept", report.changes_kept}};
}

std::string fix_report_markdown(const FixReport& report, const std::string& issue,
                                const std::string& test_command) {
  std::string out =
      fmt::format("# {}\n\n{}\n\nTests: `{}`\n", report.is_fixed ? "Fixed" : "Not fixed",
                  report.verdict, test_command);
  if (report.is_fixed) {
    out +=
        fmt::format("\n{} of {} change(s) were needed.", report.changes_kept, report.changes_made);
    out += report.probed.empty()
               ? " No probe fits these tests: results that the project itself makes up would not "
                 "have been noticed.\n"
               : fmt::format(" Probes in {} test file(s) vouch for the results.\n",
                             report.probed.size());
  }
  if (report.was_reproduced_by_agent) {
    out += "\nNo test failed at first; what failed was added by the agent, and is in the patch.\n";
  }
  out += list_of("Failed before, pass now", report.delta.fixed);
  out += list_of("Passed before, do not now", report.delta.broken);
  out += list_of("Still failing", report.delta.failing);
  out += list_of("Flaky", report.delta.flaky);
  out += list_of("Hidden tests that fail", report.hidden_failed);
  out += list_of("Changed by the agent, and put back", report.restored);
  out += list_of("Not part of the patch", report.left_out);
  if (!report.patch.empty()) out += fmt::format("\n## Patch\n\n````diff\n{}````\n", report.patch);
  return out + fmt::format("\n## Issue\n\n{}\n", issue);
}

std::string junit_xml(const TestRun& run, const std::string& suite) {
  std::string out = fmt::format(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n"
      "<testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" skipped=\"{}\">\n",
      escaped(suite), run.report.tests.size(), run.report.count(TestState::failed),
      run.report.count(TestState::skipped));
  for (const TestOutcome& test : run.report.tests) {
    out += fmt::format("<testcase classname=\"{}\" name=\"{}\"", escaped(run.report.runner),
                       escaped(test.name));
    if (test.state == TestState::passed) out += "/>\n";
    if (test.state == TestState::failed) out += "><failure/></testcase>\n";
    if (test.state == TestState::skipped) out += "><skipped/></testcase>\n";
  }
  const auto begin = run.output.size() - std::min(run.output.size(), kOutputShownMax);
  out += fmt::format("<system-out>{}</system-out>\n", escaped(run.output.substr(begin)));
  return out + "</testsuite>\n</testsuites>\n";
}

}  // namespace ponder::tools
