#pragma once

#include <string>

namespace ponder::cli {

/// The text of a new tool's file: commented, and fit to be called as it is.
std::string tool_template(const std::string& name);

}  // namespace ponder::cli
