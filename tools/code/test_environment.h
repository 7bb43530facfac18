#pragma once

#include <string>
#include <utility>
#include <vector>

namespace ponder::tools {

/// Variables for programs in a project, as ProcessRequest takes them.
using Variables = std::vector<std::pair<std::string, std::string>>;

/// What every program in a project gets, for a change of its sources to be seen.
Variables project_environment();

/// What a test command gets beside that: runners that name only failures unless asked are asked
/// to name every test (pytest, go). Whoever reads a project's tests runs them with these, or two
/// readers of the same tests come to different results.
Variables test_environment();

}  // namespace ponder::tools
