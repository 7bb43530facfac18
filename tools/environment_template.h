#pragma once

#include <string_view>

namespace ponder::tools {

/// A small complete environment to begin with: tools/templates/environment.lua.
std::string_view environment_template();

}  // namespace ponder::tools
