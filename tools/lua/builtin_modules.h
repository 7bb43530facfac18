#pragma once

#include <optional>
#include <string_view>

namespace ponder::tools::lua {

/// The text of a module that every script may require, wherever the script lies: "ponder.random" is
/// tools/library/ponder/random.lua as it was when the program was built. None: no such module.
std::optional<std::string_view> builtin_module(std::string_view name);

}  // namespace ponder::tools::lua
