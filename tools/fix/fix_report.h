#pragma once

#include <string>

#include "tools/detail/json.h"
#include "tools/fix/fix_judge.h"

namespace ponder::tools {

/// A report for programs.
Json fix_report_json(const FixReport& report);
/// A report for people, in Markdown. `issue` is what was to be fixed.
std::string fix_report_markdown(const FixReport& report, const std::string& issue,
                                const std::string& test_command);
/// A run's results as JUnit XML, one suite named `suite`.
std::string junit_xml(const TestRun& run, const std::string& suite);

}  // namespace ponder::tools
